"""What systemd is told about a container's control group: a transient scope and its properties.

systemd writes the limits that it knows of a unit into the unit's control group again, at
`systemctl daemon-reload` for example. A limit that only the control file has is lost then. So each
limit that systemd has a property for is a property of the scope as well.

Source: systemd.scope(5), systemd.resource-control(5), org.freedesktop.systemd1(5); the form of
`linux.cgroupsPath` is that of runc's and crun's systemd drivers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pelagos_core.cgroups.control_file import Write
from pelagos_core.cgroups.device_rules import DevicePolicy
from pelagos_core.cgroups.hierarchies import scope_of
from pelagos_core.errors import InvalidArgument
from pelagos_core.oci.resources import DeviceRule

Property = tuple[str, tuple[str, object]]
"""A unit's property: its name, and its value as a D-Bus variant (signature, value)."""

NO_SUCH_UNIT, UNIT_EXISTS = (f"org.freedesktop.systemd1.{name}" for name in ("NoSuchUnit", "UnitExists"))

_BOOTED = "/run/systemd/system"  # sd_booted(3)
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,249}\.scope")  # unit names, systemd.unit(5): 255 bytes at most
_UNLIMITED = 2**64 - 1
_WORDS_OF_NO_LIMIT = ("max", "-1")
_MOST_IN_SET = 8191  # a kernel has no more processors or memory nodes (CONFIG_NR_CPUS)
_DEFAULT_PERIOD = 100_000  # microseconds, of the kernel's and systemd's
# systemd keeps the quota as a whole percentage of a processor: 10 ms of a second.
_QUOTA_STEP = 10_000
_KERNEL_DEVICES = "/proc/devices"


class Refused(Exception):
    """systemd answered with an error. name: the D-Bus error's, such as NO_SUCH_UNIT."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


@dataclass(frozen=True, slots=True)
class Scope:
    """The unit of a container: its name, and the slice that it is in."""

    unit: str
    slice: str

    @classmethod
    def of(cls, cgroups_path: str) -> Scope | None:
        """The scope that a `linux.cgroupsPath` asks for on this host; None for a plain group.

        That is where systemd runs as the system's manager, and for root: another user's manager is
        not asked. Raises InvalidArgument for what is no name of a unit.
        """
        named = scope_of(cgroups_path)
        if named is None or not os.path.isdir(_BOOTED) or os.geteuid() != 0:
            return None
        slice_name, unit = named
        if not _UNIT.fullmatch(unit):
            raise InvalidArgument(f"linux.cgroupsPath: {unit!r} is not the name of a systemd scope")
        return cls(unit, slice_name)

    def properties(self, container_id: str, pid: int, *, unified: bool) -> list[Property]:
        """What makes the scope: where it is, its first process, and that what is in it is the shim's.

        pid: of the process that is put into it; a scope without one is refused. unified: cgroup v2.
        """
        block_io = "IOAccounting" if unified else "BlockIOAccounting"
        accounted = ("CPUAccounting", "MemoryAccounting", block_io, "TasksAccounting")
        return [
            ("Description", ("s", f"pelagos container {container_id}")),
            ("Slice", ("s", self.slice)),
            ("Delegate", ("b", True)),  # systemd makes and removes no group below it
            ("DefaultDependencies", ("b", False)),  # it is not stopped before containerd at shutdown
            ("CollectMode", ("s", "inactive-or-failed")),  # no failed unit stays
            ("PIDs", ("au", [pid])),
            *((name, ("b", True)) for name in accounted),
        ]


def limits(writes: Iterable[Write], version: int) -> list[Property]:
    """The properties for what is written into a group's control files; what systemd does not know is left out.

    version: of systemd, such as 252. Files of both versions of control groups are known.
    Raises InvalidArgument that names a file whose value systemd has no form for: `unified` may hold any text.
    """
    # What a file holds for one device is not the group's.
    written = {write.file: write.value for write in writes if not write.keyed}
    found: list[Property] = []
    for file, value in written.items():
        name, convert, since = _PROPERTIES.get(file, ("", _bytes, 0))
        if name and version >= since:
            found.append((name, _converted(file, value, convert)))
    return [*found, *_quota(written, version)]


def _converted(file: str, value: str, convert: Callable[[str], tuple[str, object]]) -> tuple[str, object]:
    try:
        return convert(value)
    except (ValueError, ZeroDivisionError):
        raise InvalidArgument(f"control file {file!r}: {value!r} is nothing that systemd can be given") from None


def _number(text: str, most: int = _UNLIMITED) -> int:
    number = int(text)
    if not 0 <= number <= most:
        raise ValueError
    return number


def _bytes(value: str) -> tuple[str, object]:
    return "t", _UNLIMITED if value in _WORDS_OF_NO_LIMIT else _number(value)


def _weight(value: str) -> tuple[str, object]:
    return "t", _number(value.removeprefix("default "))  # io.weight: `default 100` or `100`


def _set(value: str) -> tuple[str, object]:
    """A list of processors or memory nodes, as bits from the lowest on."""
    bits = 0
    for part in value.split(","):
        first, _, last = part.partition("-")
        begin, end = _number(first, _MOST_IN_SET), _number(last or first, _MOST_IN_SET)
        bits |= sum(1 << number for number in range(begin, end + 1))
    return "ay", list(bits.to_bytes((bits.bit_length() + 7) // 8, "little"))


# A control file: the property, how its value is written, and the first systemd that has it.
_PROPERTIES: dict[str, tuple[str, Callable[[str], tuple[str, object]], int]] = {
    "memory.max": ("MemoryMax", _bytes, 0),
    "memory.high": ("MemoryHigh", _bytes, 0),
    "memory.low": ("MemoryLow", _bytes, 0),
    "memory.min": ("MemoryMin", _bytes, 240),
    "memory.swap.max": ("MemorySwapMax", _bytes, 0),
    "memory.limit_in_bytes": ("MemoryLimit", _bytes, 0),
    "cpu.weight": ("CPUWeight", _weight, 0),
    "cpu.shares": ("CPUShares", _weight, 0),
    "pids.max": ("TasksMax", _bytes, 0),
    "io.weight": ("IOWeight", _weight, 0),
    "blkio.weight": ("BlockIOWeight", _weight, 0),
    "cpuset.cpus": ("AllowedCPUs", _set, 244),
    "cpuset.mems": ("AllowedMemoryNodes", _set, 244),
}


def _quota(written: dict[str, str], version: int) -> Iterator[Property]:
    """`cpu.max` of v2, or quota and period of v1: microseconds in a period."""
    if "cpu.max" in written:
        file, value = "cpu.max", written["cpu.max"]
    elif "cpu.cfs_quota_us" in written:
        file = "cpu.cfs_quota_us"
        value = f"{written[file]} {written.get('cpu.cfs_period_us', _DEFAULT_PERIOD)}"
    else:
        return
    yield "CPUQuotaPerSecUSec", _converted(file, value, _quota_per_second)
    if version >= 242:
        yield "CPUQuotaPeriodUSec", _converted(file, value, lambda value: ("t", _quota_and_period(value)[1]))


def _quota_per_second(value: str) -> tuple[str, object]:
    quota, period = _quota_and_period(value)
    if quota is None:
        return "t", _UNLIMITED
    exact = quota * 1_000_000 // period
    return "t", min(-(-exact // _QUOTA_STEP) * _QUOTA_STEP, _UNLIMITED)


def _quota_and_period(value: str) -> tuple[int | None, int]:
    """`50000 100000`, `max 100000`, or a quota alone; None for no quota."""
    quota, *rest = value.split() or [""]
    (period,) = rest or [str(_DEFAULT_PERIOD)]
    return None if quota in _WORDS_OF_NO_LIMIT else _number(quota), _number(period)


def devices(policy: DevicePolicy) -> list[Property]:
    """The properties for a device policy.

    systemd can name what is allowed, not what is not: a policy that allows all but some devices is left
    to the group's own rules, which systemd does not reset on v2.
    """
    if policy.allow:
        return [("DevicePolicy", ("s", "auto")), ("DeviceAllow", ("a(ss)", []))]
    names = _names_of_majors() if any(_is_whole_driver(rule) for rule in policy.exceptions) else {}
    allowed = [(path, rule.access) for rule in policy.exceptions for path in _device_paths(rule, names)]
    return [("DevicePolicy", ("s", "strict")), ("DeviceAllow", ("a(ss)", allowed))]


def _is_whole_driver(rule: DeviceRule) -> bool:
    return rule.major is not None and rule.minor is None


def _device_paths(rule: DeviceRule, names: dict[tuple[str, int], list[str]]) -> list[str]:
    kind = "char" if rule.type == "c" else "block"
    if rule.major is None:
        return [f"{kind}-*"] if rule.minor is None else []
    if rule.minor is None:
        return [f"{kind}-{name}" for name in names.get((kind, rule.major), [])]
    return [f"/dev/{kind}/{rule.major}:{rule.minor}"]


def _names_of_majors() -> dict[tuple[str, int], list[str]]:
    """The drivers of each major number: systemd takes a driver's name, not its number. proc(5), "devices"."""
    kinds = {"Character devices:": "char", "Block devices:": "block"}
    found: dict[tuple[str, int], list[str]] = {}
    kind = ""
    with open(_KERNEL_DEVICES, encoding="utf-8", errors="replace") as file:
        for line in map(str.strip, file):
            kind = kinds.get(line, kind)
            number, _, name = line.partition(" ")
            if number.isdecimal():
                found.setdefault((kind, int(number)), []).append(name)
    return found
