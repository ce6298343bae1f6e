"""Resources as values for the control files of cgroup v2. Source: Documentation/admin-guide/cgroup-v2.rst.

The spec uses the units of v1, so shares, weights and swap are converted to v2's, as in runc and crun.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from pelagos_core.cgroups.control_file import Read, Write
from pelagos_core.cgroups.controllers_v1 import hugepages, idle_and_sets, rdma, with_burst
from pelagos_core.errors import FailedPrecondition, InvalidArgument, Unimplemented
from pelagos_core.oci.resources import BlockIO, Cpu, Memory, Resources

_LEAST_SHARES, _MOST_SHARES = 2, 262144
_DEFAULT_PERIOD = 100_000
_NO_THROTTLE = "rbps=max wbps=max riops=max wiops=max"


def writes(resources: Resources, read: Read) -> tuple[Write, ...]:
    """The values to write, in order. read: returns the current text of a control file.

    Raises Unimplemented for a resource that only cgroup v1 has, FailedPrecondition for a memory limit below
    the current usage if the spec sets checkBeforeUpdate.
    """
    _refuse_v1(resources)
    return (
        *_memory(resources.memory, read),
        *_cpu(resources.cpu, read),
        *_number("pids.limit", "pids.max", resources.pids),
        *_block_io(resources.block_io, read),
        *hugepages(resources, "max"),
        *rdma(resources),
        *(Write(f"unified[{name!r}]", name, value) for name, value in resources.unified.items()),
    )


def _refuse_v1(resources: Resources) -> None:
    memory, cpu, block_io = resources.memory, resources.cpu, resources.block_io
    asked = {
        "memory.kernelTCP": memory.kernel_tcp,
        "memory.disableOOMKiller": memory.disable_oom_killer,
        "memory.swappiness": memory.swappiness is not None,
        "cpu.realtimeRuntime": cpu.realtime_runtime,
        "cpu.realtimePeriod": cpu.realtime_period,
        "blockIO.leafWeight": block_io.leaf_weight or block_io.leaf_weights,
        "network.classID": resources.class_id is not None,
        "network.priorities": resources.priorities,
    }
    for field, is_asked in asked.items():
        if is_asked:
            raise Unimplemented(f"linux.resources.{field}: this host has cgroup v2, which has no such limit")


def _number(field: str, file: str, value: int) -> Iterator[Write]:
    if value:
        yield Write(field, file, "max" if value < 0 else str(value))


def _memory(memory: Memory, read: Read) -> Iterator[Write]:
    if memory.check_before_update and memory.limit > 0 and memory.limit <= int(read("memory.current") or 0):
        raise FailedPrecondition(f"linux.resources.memory.limit: {memory.limit} is not above the present usage")
    swap = memory.swap
    if memory.limit < 0 and not swap:
        swap = -1  # as on v1, where memory and swap are counted together
    if swap > 0:
        yield _swap_write(swap - _limit_with_swap(memory, read))
    elif swap < 0:
        yield Write("memory.swap", "memory.swap.max", "max", optional=True)
    yield from _number("memory.limit", "memory.max", memory.limit)
    yield from _number("memory.reservation", "memory.low", memory.reservation)


def _limit_with_swap(memory: Memory, read: Read) -> int:
    """The memory limit to subtract from the spec's swap limit, which includes memory as on v1."""
    if memory.limit > 0:
        return memory.limit
    present = read("memory.max")
    if memory.limit < 0 or not present.isdecimal():
        raise InvalidArgument("linux.resources.memory.swap: needs a memory limit, which it includes")
    return int(present)


def _swap_write(swap: int) -> Write:
    if swap < 0:
        raise InvalidArgument("linux.resources.memory.swap: less than the memory limit, which it includes")
    # A host without swap accounting has no file for swap.
    return Write("memory.swap", "memory.swap.max", str(swap), optional=swap == 0)


def weight_of_shares(shares: int) -> int:
    """Convert v1's cpu.shares to cpu.weight. Both ends of the ranges and the defaults (1024, 100) correspond.

    Source: the formula of runc, crun and Kubernetes since 2025.
    """
    exponent = math.log2(min(max(shares, _LEAST_SHARES), _MOST_SHARES))
    return math.ceil(round(10 ** ((exponent * exponent + 125 * exponent) / 612 - 7 / 34), 9))


def _cpu(cpu: Cpu, read: Read) -> Iterator[Write]:
    if cpu.shares:
        yield Write("cpu.shares", "cpu.weight", str(weight_of_shares(cpu.shares)))
    yield from with_burst(cpu, "cpu.max.burst", read, _bandwidth(cpu, read))
    yield from idle_and_sets(cpu)


def _bandwidth(cpu: Cpu, read: Read) -> Iterator[Write]:
    """The writes for quota and period; one that is not given stays unchanged."""
    if not cpu.quota and not cpu.period:
        return
    present = read("cpu.max").split()
    quota, period = present if len(present) == 2 else ("max", str(_DEFAULT_PERIOD))
    if cpu.quota:
        quota = "max" if cpu.quota < 0 else str(cpu.quota)
    yield Write("cpu.quota", "cpu.max", f"{quota} {cpu.period or period}")


def _block_io(block_io: BlockIO, read: Read) -> Iterator[Write]:
    # BFQ uses the range of v1, and takes precedence on a device that uses it.
    bfq = bool((block_io.weight or block_io.weights) and read("io.bfq.weight"))
    file = "io.bfq.weight" if bfq else "io.weight"
    if block_io.weight:
        yield Write("blockIO.weight", file, _io_weight(block_io.weight, bfq=bfq))
    for entry in block_io.weights:
        value = f"{entry.device} {_io_weight(entry.value, bfq=bfq)}"
        yield Write("blockIO.weightDevice", file, value, keyed=True, reset="default")
    throttles = (
        ("throttleReadBpsDevice", "rbps", block_io.read_bps),
        ("throttleWriteBpsDevice", "wbps", block_io.write_bps),
        ("throttleReadIOPSDevice", "riops", block_io.read_iops),
        ("throttleWriteIOPSDevice", "wiops", block_io.write_iops),
    )
    for field, key, values in throttles:
        for entry in values:
            limit = entry.value or "max"  # as on v1, 0 removes a throttle
            yield Write(f"blockIO.{field}", "io.max", f"{entry.device} {key}={limit}", keyed=True, reset=_NO_THROTTLE)


def _io_weight(weight: int, *, bfq: bool) -> str:
    """Convert 10..1000 to 1..10000, as in runc and crun."""
    return str(weight if bfq else 1 + (weight - 10) * 9999 // 990)
