"""Resource usage of a container, from the control files of cgroup v2, in containerd's message."""

from __future__ import annotations

from collections.abc import Iterator

from pelagos_core.api import metrics_v2_pb2 as api
from pelagos_core.cgroups.control_file import assignments, number, table
from pelagos_core.cgroups.group import Cgroup

_MEMORY_FIELDS = set(api.MemoryStat.DESCRIPTOR.fields_by_name)
_CPU_FIELDS = set(api.CPUStat.DESCRIPTOR.fields_by_name)
_EVENT_FIELDS = set(api.MemoryEvents.DESCRIPTOR.fields_by_name)
# Since Linux 5.9 these are counted for anonymous and file pages apart.
_SUMS = ("workingset_refault", "workingset_activate")


def metrics(cgroup: Cgroup) -> api.Metrics:
    """Read the metrics of a group that containerd's message has fields for. Missing counters are not set."""
    return api.Metrics(
        pids=api.PidsStat(current=number(cgroup.read("pids.current")), limit=number(cgroup.read("pids.max"))),
        cpu=api.CPUStat(**_known(table(cgroup.read("cpu.stat")), _CPU_FIELDS)),
        memory=_memory(cgroup),
        rdma=api.RdmaStat(current=_rdma(cgroup.read("rdma.current")), limit=_rdma(cgroup.read("rdma.max"))),
        io=api.IOStat(usage=_io(cgroup.read("io.stat"))),
        hugetlb=_hugetlb(cgroup),
        memory_events=api.MemoryEvents(**_known(table(cgroup.read("memory.events")), _EVENT_FIELDS)),
    )


def _known(counts: dict[str, int], fields: set[str]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if name in fields}


def _memory(cgroup: Cgroup) -> api.MemoryStat:
    counts = table(cgroup.read("memory.stat"))
    for name in _SUMS:
        counts.setdefault(name, counts.get(f"{name}_anon", 0) + counts.get(f"{name}_file", 0))
    return api.MemoryStat(
        **_known(counts, _MEMORY_FIELDS),
        usage=number(cgroup.read("memory.current")),
        usage_limit=number(cgroup.read("memory.max")),
        swap_usage=number(cgroup.read("memory.swap.current")),
        swap_limit=number(cgroup.read("memory.swap.max")),
        max_usage=number(cgroup.read("memory.peak")),
        swap_max_usage=number(cgroup.read("memory.swap.peak")),
    )


def _io(text: str) -> Iterator[api.IOEntry]:
    for device, counts in assignments(text):
        major, _, minor = device.partition(":")
        # The kernel shows a removed device as a word instead of its numbers: it cannot be identified.
        if major.isdecimal() and minor.isdecimal():
            known = _known(counts, {"rbytes", "wbytes", "rios", "wios"})
            yield api.IOEntry(major=int(major), minor=int(minor), **known)


def _rdma(text: str) -> Iterator[api.RdmaEntry]:
    for device, counts in assignments(text):
        handles, objects = (min(counts.get(name, 0), 2**32 - 1) for name in ("hca_handle", "hca_object"))
        yield api.RdmaEntry(device=device, hca_handles=handles, hca_objects=objects)


def _hugetlb(cgroup: Cgroup) -> Iterator[api.HugeTlbStat]:
    for size in cgroup.hugepage_sizes():
        prefix = f"hugetlb.{size}"
        yield api.HugeTlbStat(
            current=number(cgroup.read(f"{prefix}.current")), max=number(cgroup.read(f"{prefix}.max")), pagesize=size
        )
