"""Resource usage of a container, from the control files of cgroup v1, in containerd's message."""

from __future__ import annotations

import os
from collections.abc import Iterator

from pelagos_core.api import metrics_v1_pb2 as api
from pelagos_core.cgroups.control_file import UNLIMITED, assignments, number, table
from pelagos_core.cgroups.group import Cgroup

_TICK_NANOSECONDS = 10**9 // os.sysconf("SC_CLK_TCK")
# Names of memory.stat whose fields in the message are spelt differently.
_SPELLING = {
    "pgpgin": "pg_pg_in",
    "pgpgout": "pg_pg_out",
    "pgfault": "pg_fault",
    "pgmajfault": "pg_maj_fault",
    "hierarchical_memsw_limit": "hierarchical_swap_limit",
}
# The message has no field for memory.stat's `swap`, a number: its own field of that name is a message.
_MEMORY_FIELDS = {field.name for field in api.MemoryStat.DESCRIPTOR.fields if field.message_type is None}


def metrics(cgroup: Cgroup) -> api.Metrics:
    """Read the metrics of a group that containerd's message has fields for. Missing counters are not set."""
    return api.Metrics(
        hugetlb=_hugetlb(cgroup),
        pids=_pids(cgroup),
        cpu=_cpu(cgroup),
        memory=_memory(cgroup),
        blkio=api.BlkIOStat(
            io_service_bytes_recursive=_block_io(cgroup.read("blkio.throttle.io_service_bytes_recursive")),
            io_serviced_recursive=_block_io(cgroup.read("blkio.throttle.io_serviced_recursive")),
        ),
        rdma=api.RdmaStat(current=_rdma(cgroup.read("rdma.current")), limit=_rdma(cgroup.read("rdma.max"))),
        memory_oom_control=api.MemoryOomControl(**table(cgroup.read("memory.oom_control"))),
    )


def _hugetlb(cgroup: Cgroup) -> Iterator[api.HugetlbStat]:
    for size in cgroup.hugepage_sizes():
        prefix = f"hugetlb.{size}"
        yield api.HugetlbStat(
            usage=number(cgroup.read(f"{prefix}.usage_in_bytes")),
            max=number(cgroup.read(f"{prefix}.max_usage_in_bytes")),
            failcnt=number(cgroup.read(f"{prefix}.failcnt")),
            pagesize=size,
        )


def _pids(cgroup: Cgroup) -> api.PidsStat:
    limit = number(cgroup.read("pids.max"))
    return api.PidsStat(current=number(cgroup.read("pids.current")), limit=0 if limit == UNLIMITED else limit)


def _cpu(cgroup: Cgroup) -> api.CPUStat:
    ticks = table(cgroup.read("cpuacct.stat"))
    throttling = table(cgroup.read("cpu.stat"))
    return api.CPUStat(
        usage=api.CPUUsage(
            total=number(cgroup.read("cpuacct.usage")),
            kernel=ticks.get("system", 0) * _TICK_NANOSECONDS,
            user=ticks.get("user", 0) * _TICK_NANOSECONDS,
            per_cpu=[int(word) for word in cgroup.read("cpuacct.usage_percpu").split()],
        ),
        throttling=api.Throttle(
            periods=throttling.get("nr_periods", 0),
            throttled_periods=throttling.get("nr_throttled", 0),
            throttled_time=throttling.get("throttled_time", 0),
        ),
    )


def _memory(cgroup: Cgroup) -> api.MemoryStat:
    counts = {_field(name): count for name, count in table(cgroup.read("memory.stat")).items()}
    return api.MemoryStat(
        **{name: count for name, count in counts.items() if name in _MEMORY_FIELDS},
        usage=_entry(cgroup, "memory"),
        swap=_entry(cgroup, "memory.memsw"),
        kernel=_entry(cgroup, "memory.kmem"),
        kernel_tcp=_entry(cgroup, "memory.kmem.tcp"),
    )


def _field(name: str) -> str:
    total = "total_" if name.startswith("total_") else ""
    own = name.removeprefix("total_")
    return total + _SPELLING.get(own, own)


def _entry(cgroup: Cgroup, prefix: str) -> api.MemoryEntry:
    return api.MemoryEntry(
        limit=number(cgroup.read(f"{prefix}.limit_in_bytes")),
        usage=number(cgroup.read(f"{prefix}.usage_in_bytes")),
        max=number(cgroup.read(f"{prefix}.max_usage_in_bytes")),
        failcnt=number(cgroup.read(f"{prefix}.failcnt")),
    )


def _block_io(text: str) -> Iterator[api.BlkIOEntry]:
    """Parse lines such as `8:0 Read 4096`. The last line, `Total 4096`, belongs to no device."""
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3:
            major, _, minor = words[0].partition(":")
            yield api.BlkIOEntry(
                op=words[1], device=_device(words[0]), major=int(major), minor=int(minor), value=int(words[2])
            )


def _device(numbers: str) -> str:
    try:
        return f"/dev/{os.path.basename(os.readlink(f'/sys/dev/block/{numbers}'))}"
    except OSError:
        return ""


def _rdma(text: str) -> Iterator[api.RdmaEntry]:
    for device, counts in assignments(text):
        handles, objects = (min(counts.get(name, 0), 2**32 - 1) for name in ("hca_handle", "hca_object"))
        yield api.RdmaEntry(device=device, hca_handles=handles, hca_objects=objects)
