"""The transient scope of a container's control group and its properties, for systemd.

systemd writes the limits in a unit's properties to the unit's control group again, for example at `systemctl
daemon-reload`. A limit that was written only to the control file is lost then. So each limit for which systemd has a
property is also set as a property of the scope.

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
"""A property of a unit: its name, and its value as a D-Bus variant (signature, value)."""

NO_SUCH_UNIT, UNIT_EXISTS = (f"org.freedesktop.systemd1.{name}" for name in ("NoSuchUnit", "UnitExists"))

_BOOTED = "/run/systemd/system"  # sd_booted(3)
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,249}\.scope")  # unit names, systemd.unit(5): 255 bytes at most
_UNLIMITED = 2**64 - 1
_WORDS_OF_NO_LIMIT = ("max", "-1")
_MOST_IN_SET = 8191  # the kernel's maximum of processors and memory nodes (CONFIG_NR_CPUS)
_DEFAULT_PERIOD = 100_000  # microseconds; the default of the kernel and of systemd
# systemd rounds the quota to whole percents of a processor: 10 ms of a second.
_QUOTA_STEP = 10_000
_KERNEL_DEVICES = "/proc/devices"


class Refused(Exception):
    """systemd has answered with an error. name: of the D-Bus error, such as NO_SUCH_UNIT."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


@dataclass(frozen=True, slots=True)
class Scope:
    """The scope of a container: its unit name and its slice."""

    unit: str
    slice: str

    @classmethod
    def of(cls, cgroups_path: str) -> Scope | None:
        """The scope for a `linux.cgroupsPath` on this host; None for a plain group.

        There is one only if systemd is the system's manager and this process is root: user managers are
        not used. Raises InvalidArgument for an invalid unit name.
        """
        named = scope_of(cgroups_path)
        if named is None or not os.path.isdir(_BOOTED) or os.geteuid() != 0:
            return None
        slice_name, unit = named
        if not _UNIT.fullmatch(unit):
            raise InvalidArgument(f"linux.cgroupsPath: {unit!r} is not the name of a systemd scope")
        return cls(unit, slice_name)

    def properties(self, container_id: str, pid: int, *, unified: bool) -> list[Property]:
        """The properties to create the scope: slice, first process, delegation to the shim.

        pid: of the first process; systemd refuses a scope without one. unified: whether the host has cgroup v2.
        """
        block_io = "IOAccounting" if unified else "BlockIOAccounting"
        accounted = ("CPUAccounting", "MemoryAccounting", block_io, "TasksAccounting")
        return [
            ("Description", ("s", f"pelagos container {container_id}")),
            ("Slice", ("s", self.slice)),
            ("Delegate", ("b", True)),  # systemd does not change the groups below it
            ("DefaultDependencies", ("b", False)),  # else it is stopped before containerd at shutdown
            ("CollectMode", ("s", "inactive-or-failed")),  # a failed unit is unloaded too
            ("PIDs", ("au", [pid])),
            *((name, ("b", True)) for name in accounted),
        ]


def limits(writes: Iterable[Write], version: int) -> list[Property]:
    """The properties for writes to control files. A write without a property in systemd is skipped.

    version: of systemd, such as 252. The files of both versions of control groups are supported.
    Raises InvalidArgument that names a file whose value systemd cannot represent: `unified` may contain any text.
    """
    # Values for a single device have no property here.
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
        raise InvalidArgument(f"control file {file!r}: {value!r} has no form in systemd's properties") from None


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
    """A list of processors or memory nodes as a bit mask, the lowest byte first."""
    bits = 0
    for part in value.split(","):
        first, _, last = part.partition("-")
        begin, end = _number(first, _MOST_IN_SET), _number(last or first, _MOST_IN_SET)
        bits |= sum(1 << number for number in range(begin, end + 1))
    return "ay", list(bits.to_bytes((bits.bit_length() + 7) // 8, "little"))


# Control file -> the property, the conversion of its value, and the first version of systemd with it.
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
    """The properties for `cpu.max` of v2, or quota and period of v1, in microseconds."""
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
    """Parse `50000 100000`, `max 100000`, or a quota alone; None for no quota."""
    quota, *rest = value.split() or [""]
    (period,) = rest or [str(_DEFAULT_PERIOD)]
    return None if quota in _WORDS_OF_NO_LIMIT else _number(quota), _number(period)


def devices(policy: DevicePolicy) -> list[Property]:
    """The properties for a device policy.

    systemd has only a list of allowed devices. A policy that allows all devices but some is not passed to systemd: the
    group's own rules enforce it, and systemd does not reset those on v2.
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
    """The drivers of each major number: systemd expects a driver's name. proc(5), "devices"."""
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
