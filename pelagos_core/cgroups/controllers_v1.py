"""Resources as values for the control files of cgroup v1. Source: Documentation/admin-guide/cgroup-v1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pelagos_core.cgroups.control_file import Read, Write
from pelagos_core.cgroups.device_rules import DevicePolicy
from pelagos_core.errors import Unimplemented
from pelagos_core.oci.resources import BlockIO, Cpu, DeviceRule, DeviceValue, Memory, Resources

_MEMORY, _SWAP = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"


def writes(resources: Resources, read: Read) -> tuple[Write, ...]:
    """The values to write, in order. read: returns the current text of a control file.

    Raises Unimplemented for a resource that only cgroup v2 has.
    """
    if resources.unified:
        raise Unimplemented("linux.resources.unified: this host has cgroup v1")
    return (
        *_memory(resources.memory, read),
        *_cpu(resources.cpu, read),
        *_number("pids.limit", "pids.max", resources.pids, unlimited="max"),
        *_block_io(resources.block_io, read),
        *hugepages(resources, "limit_in_bytes"),
        *rdma(resources),
        *_network(resources),
    )


def device_writes(policy: DevicePolicy) -> tuple[Write, ...]:
    """The writes for a device policy: the default, then the exceptions."""
    names = {True: "devices.allow", False: "devices.deny"}
    lines = [Write("devices", names[policy.allow], "a")]
    lines += [Write("devices", names[not policy.allow], _device(rule)) for rule in policy.exceptions]
    return tuple(lines)


def _device(rule: DeviceRule) -> str:
    major, minor = ("*" if number is None else number for number in (rule.major, rule.minor))
    return f"{rule.type} {major}:{minor} {rule.access}"


def _number(field: str, file: str, value: int, unlimited: str = "-1") -> Iterator[Write]:
    if value:
        yield Write(field, file, unlimited if value < 0 else str(value))


def _memory(memory: Memory, read: Read) -> Iterator[Write]:
    swap = memory.swap
    if memory.limit < 0 and not swap and read(_SWAP):
        swap = -1  # no limit either: the limit of memory and swap together cannot be lower than that of memory
    both = [*_number("memory.limit", _MEMORY, memory.limit), *_number("memory.swap", _SWAP, swap)]
    # The memory limit must not exceed that of memory and swap together, also between the two writes.
    if len(both) > 1 and (swap < 0 or swap > int(read(_MEMORY) or 0)):
        both.reverse()
    yield from both
    yield from _number("memory.reservation", "memory.soft_limit_in_bytes", memory.reservation)
    yield from _number("memory.kernelTCP", "memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp)
    if memory.disable_oom_killer:
        yield Write("memory.disableOOMKiller", "memory.oom_control", "1")
    if memory.swappiness is not None:
        yield Write("memory.swappiness", "memory.swappiness", str(memory.swappiness))


def _cpu(cpu: Cpu, read: Read) -> Iterator[Write]:
    if cpu.shares:
        yield Write("cpu.shares", "cpu.shares", str(cpu.shares))
    yield from with_burst(cpu, "cpu.cfs_burst_us", read, _bandwidth(cpu, read))
    yield from _number("cpu.realtimePeriod", "cpu.rt_period_us", cpu.realtime_period)
    yield from _number("cpu.realtimeRuntime", "cpu.rt_runtime_us", cpu.realtime_runtime)
    yield from idle_and_sets(cpu)


def with_burst(cpu: Cpu, file: str, read: Read, bandwidth: Iterable[Write]) -> Iterator[Write]:
    """The writes for `cpu.burst`, to `file`, and for quota and period. For both versions."""
    # The burst must not exceed the quota, so a smaller burst is written first, a larger one last.
    burst = [] if cpu.burst is None else [Write("cpu.burst", file, str(cpu.burst))]
    shrinks = cpu.burst is not None and cpu.burst < int(read(file) or 0)
    yield from burst if shrinks else ()
    yield from bandwidth
    yield from () if shrinks else burst


def idle_and_sets(cpu: Cpu) -> Iterator[Write]:
    """The writes for `cpu.idle`, `cpus` and `mems`. For both versions."""
    if cpu.idle is not None:
        yield Write("cpu.idle", "cpu.idle", str(cpu.idle))
    if cpu.cpus:
        yield Write("cpu.cpus", "cpuset.cpus", cpu.cpus)
    if cpu.mems:
        yield Write("cpu.mems", "cpuset.mems", cpu.mems)


def _bandwidth(cpu: Cpu, read: Read) -> list[Write]:
    both = [
        *_number("cpu.period", "cpu.cfs_period_us", cpu.period),
        *_number("cpu.quota", "cpu.cfs_quota_us", cpu.quota),
    ]
    # Between the writes the ratio must not exceed the parent's: the value that lowers it is written first.
    if len(both) > 1 and cpu.period < int(read("cpu.cfs_period_us") or 0):
        both.reverse()
    return both


def _block_io(block_io: BlockIO, read: Read) -> Iterator[Write]:
    # Each I/O scheduler has its own weights; the only one in Linux now is BFQ.
    weighs = block_io.weight or block_io.weights
    prefix = "blkio.bfq" if weighs and read("blkio.bfq.weight") else "blkio"
    yield from _number("blockIO.weight", f"{prefix}.weight", block_io.weight)
    yield from _number("blockIO.leafWeight", "blkio.leaf_weight", block_io.leaf_weight)
    devices: tuple[tuple[str, str, tuple[DeviceValue, ...]], ...] = (
        ("weightDevice", f"{prefix}.weight_device", block_io.weights),
        ("weightDevice.leafWeight", "blkio.leaf_weight_device", block_io.leaf_weights),
        ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", block_io.read_bps),
        ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", block_io.write_bps),
        ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", block_io.read_iops),
        ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", block_io.write_iops),
    )
    for field, file, values in devices:
        for entry in values:
            yield Write(f"blockIO.{field}", file, f"{entry.device} {entry.value}", keyed=True, reset="0")


def hugepages(resources: Resources, limit: str) -> Iterator[Write]:
    """The writes for `hugepageLimits`. limit: the end of the file names. For both versions."""
    for entry in resources.hugepages:
        name = f"hugetlb.{entry.page_size}"
        yield Write("hugepageLimits", f"{name}.{limit}", str(entry.limit))
        # Reservations are limited since Linux 5.7; before that only page faults are.
        yield Write("hugepageLimits", f"{name}.rsvd.{limit}", str(entry.limit), optional=True)


def rdma(resources: Resources) -> Iterator[Write]:
    """The writes for `rdma`. For both versions."""
    for entry in resources.rdma:
        words = [entry.device]
        words += [] if entry.handles is None else [f"hca_handle={entry.handles}"]
        words += [] if entry.objects is None else [f"hca_object={entry.objects}"]
        if len(words) > 1:
            yield Write("rdma", "rdma.max", " ".join(words), keyed=True, reset="hca_handle=max hca_object=max")


def _network(resources: Resources) -> Iterator[Write]:
    if resources.class_id is not None:
        yield Write("network.classID", "net_cls.classid", str(resources.class_id))
    for name, priority in resources.priorities:
        yield Write("network.priorities", "net_prio.ifpriomap", f"{name} {priority}", keyed=True, reset="0")
