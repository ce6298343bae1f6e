"""Resources as values for the control files of cgroup v1."""

import pytest

from pelagos_core.cgroups.controllers_v1 import device_writes, writes
from pelagos_core.cgroups.device_rules import DevicePolicy
from pelagos_core.errors import Unimplemented
from pelagos_core.oci.resources import (
    BlockIO,
    Cpu,
    DeviceRule,
    DeviceValue,
    HugepageLimit,
    Memory,
    RdmaLimit,
    Resources,
)

MEMORY, SWAP = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"


def written(resources, **present):
    """(file, value) in order; `present`: what files hold now, with _ for the full stop."""
    files = {name.replace("__", "."): text for name, text in present.items()}
    return [(write.file, write.value) for write in writes(resources, lambda file: files.get(file, ""))]


def test_nothing_asked_is_nothing_written():
    assert written(Resources()) == []


@pytest.mark.parametrize(
    ("memory", "present", "expected"),
    [
        (Memory(limit=64), {}, [(MEMORY, "64")]),
        (Memory(limit=64, swap=64), {"memory__limit_in_bytes": "9223372036854771712"}, [(MEMORY, "64"), (SWAP, "64")]),
        (Memory(limit=64, swap=128), {"memory__limit_in_bytes": "32"}, [(SWAP, "128"), (MEMORY, "64")]),
        (Memory(limit=64, swap=-1), {"memory__limit_in_bytes": "32"}, [(SWAP, "-1"), (MEMORY, "64")]),
        (Memory(limit=-1), {"memory__memsw__limit_in_bytes": "64"}, [(SWAP, "-1"), (MEMORY, "-1")]),
        (Memory(limit=-1), {}, [(MEMORY, "-1")]),
        (Memory(reservation=9), {}, [("memory.soft_limit_in_bytes", "9")]),
        (Memory(kernel_tcp=8), {}, [("memory.kmem.tcp.limit_in_bytes", "8")]),
        (Memory(swappiness=0), {}, [("memory.swappiness", "0")]),
        (Memory(disable_oom_killer=True), {}, [("memory.oom_control", "1")]),
    ],
)
def test_memory(memory, present, expected):
    assert written(Resources(memory=memory), **present) == expected


@pytest.mark.parametrize(
    ("cpu", "present", "expected"),
    [
        (Cpu(shares=2), {}, [("cpu.shares", "2")]),
        (Cpu(quota=-1), {}, [("cpu.cfs_quota_us", "-1")]),
        (Cpu(quota=5, period=9), {"cpu__cfs_period_us": "4"}, [("cpu.cfs_period_us", "9"), ("cpu.cfs_quota_us", "5")]),
        (Cpu(quota=5, period=9), {"cpu__cfs_period_us": "99"}, [("cpu.cfs_quota_us", "5"), ("cpu.cfs_period_us", "9")]),
        (Cpu(quota=5, burst=3), {"cpu__cfs_burst_us": "0"}, [("cpu.cfs_quota_us", "5"), ("cpu.cfs_burst_us", "3")]),
        (Cpu(quota=5, burst=3), {"cpu__cfs_burst_us": "7"}, [("cpu.cfs_burst_us", "3"), ("cpu.cfs_quota_us", "5")]),
        (Cpu(realtime_runtime=1, realtime_period=2), {}, [("cpu.rt_period_us", "2"), ("cpu.rt_runtime_us", "1")]),
        (Cpu(idle=0, cpus="0-1", mems="0"), {}, [("cpu.idle", "0"), ("cpuset.cpus", "0-1"), ("cpuset.mems", "0")]),
    ],
)
def test_cpu(cpu, present, expected):
    assert written(Resources(cpu=cpu), **present) == expected


@pytest.mark.parametrize(("limit", "value"), [(5, "5"), (-1, "max")])
def test_pids(limit, value):
    assert written(Resources(pids=limit)) == [("pids.max", value)]


def test_block_io():
    disk = (DeviceValue("8:0", 20),)
    assert written(Resources(block_io=BlockIO(weight=10, leaf_weight=11, weights=disk, leaf_weights=disk))) == [
        ("blkio.weight", "10"),
        ("blkio.leaf_weight", "11"),
        ("blkio.weight_device", "8:0 20"),
        ("blkio.leaf_weight_device", "8:0 20"),
    ]
    assert written(Resources(block_io=BlockIO(weight=10, weights=disk)), blkio__bfq__weight="100") == [
        ("blkio.bfq.weight", "10"),
        ("blkio.bfq.weight_device", "8:0 20"),
    ]
    throttles = BlockIO(read_bps=disk, write_bps=disk, read_iops=disk, write_iops=disk)
    assert written(Resources(block_io=throttles)) == [
        (f"blkio.throttle.{what}_device", "8:0 20") for what in ("read_bps", "write_bps", "read_iops", "write_iops")
    ]


def test_the_rest():
    resources = Resources(
        hugepages=(HugepageLimit("2MB", 0),),
        rdma=(RdmaLimit("mlx", 1, None), RdmaLimit("none", None, None)),
        class_id=0x100001,
        priorities=(("eth0", 5),),
    )
    assert written(resources) == [
        ("hugetlb.2MB.limit_in_bytes", "0"),
        ("hugetlb.2MB.rsvd.limit_in_bytes", "0"),
        ("rdma.max", "mlx hca_handle=1"),
        ("net_cls.classid", "1048577"),
        ("net_prio.ifpriomap", "eth0 5"),
    ]


def test_what_only_v2_has_is_refused_by_name():
    with pytest.raises(Unimplemented, match=r"linux\.resources\.unified: this host has cgroup v1"):
        written(Resources(unified={"memory.high": "1"}))


def test_devices_are_denied_first_and_then_allowed_one_by_one():
    rules = (DeviceRule(True, "b", 8, None, "r"),)
    lines = [(write.file, write.value) for write in device_writes(DevicePolicy.of(rules))]
    assert lines[:4] == [
        ("devices.deny", "a"),
        ("devices.allow", "b 8:* r"),
        ("devices.allow", "c *:* m"),
        ("devices.allow", "b *:* m"),
    ]
    opened = device_writes(DevicePolicy.of((DeviceRule(True), DeviceRule(False, "c", 1, 1, "w"))))
    assert [(write.file, write.value) for write in opened] == [("devices.allow", "a"), ("devices.deny", "c 1:1 w")]
