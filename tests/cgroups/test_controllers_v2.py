"""Resources as values for the control files of cgroup v2."""

import pytest

from pelagos_core.cgroups.controllers_v2 import weight_of_shares, writes
from pelagos_core.errors import FailedPrecondition, InvalidArgument, Unimplemented
from pelagos_core.oci.resources import BlockIO, Cpu, DeviceValue, HugepageLimit, Memory, RdmaLimit, Resources

DISK = (DeviceValue("8:0", 20),)


def written(resources, **present):
    """(file, value) in order; `present`: what files hold now, with __ for the full stop."""
    files = {name.replace("__", "."): text for name, text in present.items()}
    return [(write.file, write.value) for write in writes(resources, lambda file: files.get(file, ""))]


def test_nothing_asked_is_nothing_written():
    assert written(Resources()) == []


@pytest.mark.parametrize(
    ("memory", "present", "expected"),
    [
        (Memory(limit=64), {}, [("memory.max", "64")]),
        (Memory(limit=64, swap=64), {}, [("memory.swap.max", "0"), ("memory.max", "64")]),
        (Memory(limit=64, swap=96), {}, [("memory.swap.max", "32"), ("memory.max", "64")]),
        (Memory(limit=64, swap=-1), {}, [("memory.swap.max", "max"), ("memory.max", "64")]),
        (Memory(limit=-1), {}, [("memory.swap.max", "max"), ("memory.max", "max")]),
        (Memory(swap=96), {"memory__max": "64"}, [("memory.swap.max", "32")]),
        (Memory(reservation=-1), {}, [("memory.low", "max")]),
        (Memory(limit=64, check_before_update=True), {"memory__current": "63"}, [("memory.max", "64")]),
    ],
)
def test_memory(memory, present, expected):
    assert written(Resources(memory=memory), **present) == expected


@pytest.mark.parametrize(
    ("memory", "present"),
    [(Memory(swap=9), {"memory__max": "max"}), (Memory(limit=-1, swap=9), {}), (Memory(swap=9), {})],
)
def test_swap_is_counted_from_a_memory_limit(memory, present):
    with pytest.raises(InvalidArgument, match="needs a memory limit"):
        written(Resources(memory=memory), **present)
    with pytest.raises(InvalidArgument, match="less than the memory limit"):
        written(Resources(memory=Memory(swap=9)), memory__max="10")


def test_a_limit_below_what_is_used_is_refused_where_the_spec_asks_for_it():
    with pytest.raises(FailedPrecondition, match="64 is not above the present usage"):
        written(Resources(memory=Memory(limit=64, check_before_update=True)), memory__current="64")


@pytest.mark.parametrize(
    ("shares", "weight"),
    [(1, 1), (2, 1), (102, 17), (512, 59), (1024, 100), (262144, 10000), (2**60, 10000)],
)
def test_shares_become_weights_and_the_defaults_meet(shares, weight):
    assert weight_of_shares(shares) == weight


@pytest.mark.parametrize(
    ("cpu", "present", "expected"),
    [
        (Cpu(shares=1024), {}, [("cpu.weight", "100")]),
        (Cpu(quota=5, period=9), {}, [("cpu.max", "5 9")]),
        (Cpu(quota=5), {"cpu__max": "max 50"}, [("cpu.max", "5 50")]),
        (Cpu(period=9), {"cpu__max": "7 50"}, [("cpu.max", "7 9")]),
        (Cpu(quota=-1), {}, [("cpu.max", "max 100000")]),
        (Cpu(quota=5, burst=3), {}, [("cpu.max", "5 100000"), ("cpu.max.burst", "3")]),
        (Cpu(quota=5, burst=3), {"cpu__max__burst": "7"}, [("cpu.max.burst", "3"), ("cpu.max", "5 100000")]),
        (Cpu(idle=1, cpus="0", mems="0"), {}, [("cpu.idle", "1"), ("cpuset.cpus", "0"), ("cpuset.mems", "0")]),
    ],
)
def test_cpu(cpu, present, expected):
    assert written(Resources(cpu=cpu), **present) == expected


def test_block_io():
    assert written(Resources(block_io=BlockIO(weight=10, weights=(DeviceValue("8:0", 1000),)))) == [
        ("io.weight", "1"),
        ("io.weight", "8:0 10000"),
    ]
    assert written(Resources(block_io=BlockIO(weight=500)), io__bfq__weight="default 100") == [("io.bfq.weight", "500")]
    throttles = BlockIO(read_bps=DISK, write_bps=DISK, read_iops=DISK, write_iops=(DeviceValue("8:0", 0),))
    assert written(Resources(block_io=throttles)) == [
        ("io.max", "8:0 rbps=20"),
        ("io.max", "8:0 wbps=20"),
        ("io.max", "8:0 riops=20"),
        ("io.max", "8:0 wiops=max"),
    ]


def test_the_rest():
    resources = Resources(
        pids=-1, hugepages=(HugepageLimit("2MB", 5),), rdma=(RdmaLimit("mlx", 1, 2),), unified={"memory.high": "9"}
    )
    assert written(resources) == [
        ("pids.max", "max"),
        ("hugetlb.2MB.max", "5"),
        ("hugetlb.2MB.rsvd.max", "5"),
        ("rdma.max", "mlx hca_handle=1 hca_object=2"),
        ("memory.high", "9"),
    ]


@pytest.mark.parametrize(
    ("resources", "field"),
    [
        (Resources(memory=Memory(kernel_tcp=1)), "memory.kernelTCP"),
        (Resources(memory=Memory(disable_oom_killer=True)), "memory.disableOOMKiller"),
        (Resources(memory=Memory(swappiness=0)), "memory.swappiness"),
        (Resources(cpu=Cpu(realtime_runtime=1)), "cpu.realtimeRuntime"),
        (Resources(cpu=Cpu(realtime_period=1)), "cpu.realtimePeriod"),
        (Resources(block_io=BlockIO(leaf_weights=DISK)), "blockIO.leafWeight"),
        (Resources(class_id=0), "network.classID"),
        (Resources(priorities=(("eth0", 1),)), "network.priorities"),
    ],
)
def test_what_only_v1_has_is_refused_by_name(resources, field):
    with pytest.raises(Unimplemented, match=rf"linux\.resources\.{field}: this host has cgroup v2"):
        written(resources)
