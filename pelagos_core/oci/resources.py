"""`linux.resources` of the OCI runtime spec, as in config.json and in the Update rpc.

A number that is absent, or 0, leaves the present value unchanged; -1 removes a limit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pelagos_core.oci.field import Field, kept

_BYTES = 2**63 - 1
_U32 = 2**32 - 1
_U64 = 2**64 - 1
_LEAST_WEIGHT = 10
_LIST = re.compile(r"[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*")  # cpuset(7), "List format"
_PAGE_SIZE = re.compile(r"[1-9][0-9]*[KMG]B")
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_CONTROL_FILE = re.compile(r"[a-z0-9_]+(\.[A-Za-z0-9_]+)+")


@dataclass(frozen=True, slots=True)
class Memory:
    """`memory`: bytes. `swap` is the limit of memory and swap together, as in cgroup v1."""

    limit: int = 0
    reservation: int = 0
    swap: int = 0
    kernel_tcp: int = 0
    swappiness: int | None = None
    disable_oom_killer: bool = False
    check_before_update: bool = False


@dataclass(frozen=True, slots=True)
class Cpu:
    """`cpu`: times in microseconds. `idle` is SCHED_IDLE for the whole group."""

    shares: int = 0
    quota: int = 0
    burst: int | None = None
    period: int = 0
    realtime_runtime: int = 0
    realtime_period: int = 0
    cpus: str = ""
    mems: str = ""
    idle: int | None = None


@dataclass(frozen=True, slots=True)
class DeviceValue:
    """A number for one block device: bytes or operations per second, or a weight."""

    device: str
    value: int


@dataclass(frozen=True, slots=True)
class BlockIO:
    """`blockIO`: weights from 10 to 1000, throttles per second."""

    weight: int = 0
    leaf_weight: int = 0
    weights: tuple[DeviceValue, ...] = ()
    leaf_weights: tuple[DeviceValue, ...] = ()
    read_bps: tuple[DeviceValue, ...] = ()
    write_bps: tuple[DeviceValue, ...] = ()
    read_iops: tuple[DeviceValue, ...] = ()
    write_iops: tuple[DeviceValue, ...] = ()


@dataclass(frozen=True, slots=True)
class HugepageLimit:
    """One entry of `hugepageLimits`: a size as the kernel writes it, such as 2MB, and bytes."""

    page_size: str
    limit: int


@dataclass(frozen=True, slots=True)
class RdmaLimit:
    """One entry of `rdma`; None leaves a limit unchanged."""

    device: str
    handles: int | None
    objects: int | None


@dataclass(frozen=True, slots=True)
class DeviceRule:
    """One entry of `devices`. `type` is `a`, `b` or `c`; None means every number."""

    allow: bool
    type: str = "a"
    major: int | None = None
    minor: int | None = None
    access: str = "rwm"


@dataclass(frozen=True, slots=True)
class Resources:
    """All of `linux.resources`. `devices` is None if the spec does not contain it."""

    memory: Memory = Memory()
    cpu: Cpu = Cpu()
    pids: int = 0
    block_io: BlockIO = BlockIO()
    hugepages: tuple[HugepageLimit, ...] = ()
    rdma: tuple[RdmaLimit, ...] = ()
    class_id: int | None = None
    priorities: tuple[tuple[str, int], ...] = ()
    unified: Mapping[str, str] = field(default_factory=dict)
    devices: tuple[DeviceRule, ...] | None = None


@kept
def read_resources(resources: Field) -> Resources:
    """Read `linux.resources`. Raises InvalidArgument, also for an unknown field."""
    if not resources:
        return Resources()
    resources.only(
        "memory", "cpu", "pids", "blockIO", "hugepageLimits", "rdma", "network", "unified", "devices"
    )  # fmt: skip
    network = resources.get("network").only("classID", "priorities")
    devices = resources.get("devices")
    return Resources(
        memory=_memory(resources.get("memory")),
        cpu=_cpu(resources.get("cpu")),
        pids=resources.get("pids").only("limit").get("limit").number(_BYTES, least=-1),
        block_io=_block_io(resources.get("blockIO")),
        hugepages=resources.get("hugepageLimits").each(_hugepage),
        rdma=_rdma(resources.get("rdma")),
        class_id=_optional(network.get("classID"), _U32),
        priorities=network.get("priorities").each(_priority),
        unified=_unified(resources.get("unified")),
        devices=devices.each(_device) if devices else None,
    )


def _memory(memory: Field) -> Memory:
    if not memory:
        return Memory()
    memory.only(
        "limit", "reservation", "swap", "kernel", "kernelTCP", "swappiness", "disableOOMKiller", "useHierarchy",
        "checkBeforeUpdate",
    )  # fmt: skip
    # `kernel` is ignored, as in runc: Linux has no such limit any more. `useHierarchy` is ignored too: all groups are
    # hierarchical.
    swappiness = memory.get("swappiness")
    limit, swap = memory.get("limit"), memory.get("swap")
    if 0 < swap.number(_BYTES, least=-1) < limit.number(_BYTES, least=-1):
        swap.refuse("less than the memory limit, which it includes")
    return Memory(
        limit=limit.number(_BYTES, least=-1),
        reservation=memory.get("reservation").number(_BYTES, least=-1),
        swap=swap.number(_BYTES, least=-1),
        kernel_tcp=memory.get("kernelTCP").number(_BYTES, least=-1),
        swappiness=_optional(swappiness, 100) if not _is_unset(swappiness) else None,
        disable_oom_killer=memory.get("disableOOMKiller").flag(),
        check_before_update=memory.get("checkBeforeUpdate").flag(),
    )


def _is_unset(swappiness: Field) -> bool:
    """Whether it is docker's value for "not set": -1, as a signed or as an unsigned number."""
    return swappiness.number(_U64, least=-1) in (-1, _U64)


def _cpu(cpu: Field) -> Cpu:
    if not cpu:
        return Cpu()
    cpu.only(
        "shares", "quota", "burst", "period", "realtimeRuntime", "realtimePeriod", "cpus", "mems", "idle"
    )  # fmt: skip
    return Cpu(
        shares=cpu.get("shares").number(_U64),
        quota=cpu.get("quota").number(_BYTES, least=-1),
        burst=_optional(cpu.get("burst"), _BYTES),
        period=cpu.get("period").number(_BYTES),
        realtime_runtime=cpu.get("realtimeRuntime").number(_BYTES, least=-1),
        realtime_period=cpu.get("realtimePeriod").number(_BYTES),
        cpus=_list(cpu.get("cpus")),
        mems=_list(cpu.get("mems")),
        idle=_optional(cpu.get("idle"), 1),
    )


def _block_io(block_io: Field) -> BlockIO:
    if not block_io:
        return BlockIO()
    throttles = {
        name: block_io.get(key).each(_throttle)
        for name, key in (
            ("read_bps", "throttleReadBpsDevice"),
            ("write_bps", "throttleWriteBpsDevice"),
            ("read_iops", "throttleReadIOPSDevice"),
            ("write_iops", "throttleWriteIOPSDevice"),
        )
    }
    block_io.only(
        "weight", "leafWeight", "weightDevice", "throttleReadBpsDevice", "throttleWriteBpsDevice",
        "throttleReadIOPSDevice", "throttleWriteIOPSDevice",
    )  # fmt: skip
    weights = block_io.get("weightDevice").each(lambda entry: _device_value(entry, "weight", _weight))
    leaf_weights = block_io.get("weightDevice").each(lambda entry: _device_value(entry, "leafWeight", _weight))
    return BlockIO(
        weight=_weight(block_io.get("weight")),
        leaf_weight=_weight(block_io.get("leafWeight")),
        weights=tuple(entry for entry in weights if entry.value),
        leaf_weights=tuple(entry for entry in leaf_weights if entry.value),
        **throttles,
    )


def _throttle(entry: Field) -> DeviceValue:
    return _device_value(entry, "rate", lambda rate: rate.number(_U64))


def _device_value(entry: Field, key: str, read: Callable[[Field], int]) -> DeviceValue:
    major, minor = entry.get("major").number(_U32), entry.get("minor").number(_U32)
    return DeviceValue(f"{major}:{minor}", read(entry.get(key)))


def _weight(weight: Field) -> int:
    value = weight.number(1000)
    if 0 < value < _LEAST_WEIGHT:
        weight.refuse(f"{value} is not between {_LEAST_WEIGHT} and 1000")
    return value


def _hugepage(entry: Field) -> HugepageLimit:
    size = entry.get("pageSize")
    if not _PAGE_SIZE.fullmatch(size.text()):
        size.refuse(f"{size.text()!r} is not a size such as 2MB")
    return HugepageLimit(size.text(), entry.get("limit").number(_U64))


def _rdma(rdma: Field) -> tuple[RdmaLimit, ...]:
    return tuple(
        RdmaLimit(
            _named(entry, device), _optional(entry.get("hcaHandles"), _U32), _optional(entry.get("hcaObjects"), _U32)
        )
        for device, entry in rdma.members()
    )


def _priority(entry: Field) -> tuple[str, int]:
    name = entry.get("name")
    return _named(name, name.text()), entry.get("priority").number(_U32)


def _unified(unified: Field) -> dict[str, str]:
    for name, value in unified.members():
        if not _CONTROL_FILE.fullmatch(name):
            value.refuse("not the name of a control file")
        if name.startswith("cgroup."):
            value.refuse("not a limit: only the runtime may write this file")
    return unified.table()


def _device(entry: Field) -> DeviceRule:
    allow = entry.get("allow").flag()
    access = entry.get("access")
    if set(access.text()) - set("rwm"):
        access.refuse(f"{access.text()!r} has other letters than r, w and m")
    return DeviceRule(
        allow=allow,
        type=entry.get("type").choice("abc") or "a",
        major=_device_number(entry.get("major")),
        minor=_device_number(entry.get("minor")),
        # If `access` is absent, an allow rule allows nothing, and a deny rule denies everything.
        access=access.text("" if allow else "rwm"),
    )


def _device_number(number: Field) -> int | None:
    """None, which means every number, if it is absent or -1."""
    value = number.number(_U32, least=-1)
    return value if number and value >= 0 else None


def _optional(number: Field, limit: int) -> int | None:
    return number.number(limit) if number else None


def _list(numbers: Field) -> str:
    text = numbers.text().strip()
    if text and not _LIST.fullmatch(text):
        numbers.refuse(f"{text!r} is not a list such as 0-2,7")
    return text


def _named(where: Field, name: str) -> str:
    if not _NAME.fullmatch(name):
        where.refuse(f"{name!r} is not a device's name")
    return name
