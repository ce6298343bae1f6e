"""`linux.namespaces` of the OCI runtime spec."""

from __future__ import annotations

from dataclasses import dataclass

from pelagos_core.oci.field import Field, kept

NAMESPACE_TYPES = frozenset({"pid", "mount", "ipc", "uts", "network", "cgroup", "user", "time"})


@dataclass(frozen=True, slots=True)
class Namespace:
    """One entry of `linux.namespaces`. An empty path means a new namespace."""

    type: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class TimeOffset:
    """The offset of a clock of a new time namespace from the host's clock."""

    clock: str
    seconds: int
    nanoseconds: int = 0


CLOCKS = ("monotonic", "boottime")


def read_time_offsets(offsets: Field) -> tuple[TimeOffset, ...]:
    """Read `linux.timeOffsets`. Raises InvalidArgument."""
    if not offsets:
        return ()
    for clock, _ in offsets.members():
        if clock not in CLOCKS:
            offsets.refuse(f"{clock!r} is none of {', '.join(CLOCKS)}")

    def read(clock: str) -> TimeOffset:
        offset = offsets.get(clock)
        seconds = offset.get("secs").number(2**62, least=-(2**62))
        return TimeOffset(clock, seconds, offset.get("nanosecs").number(10**9 - 1))

    return tuple(read(clock) for clock in CLOCKS if offsets.get(clock))


@kept
def read_namespaces(namespaces: Field) -> tuple[Namespace, ...]:
    """Read `linux.namespaces`. Raises InvalidArgument."""

    def read(field: Field) -> Namespace:
        kind = field.get("type").text()
        if kind not in NAMESPACE_TYPES:
            field.refuse(f"unknown namespace type {kind!r}")
        path = field.get("path")
        place = path.text()
        if place and not place.startswith("/"):
            path.refuse(f"{place!r} is not absolute")
        return Namespace(kind, place)

    found = namespaces.each(read)
    namespaces.distinct([namespace.type for namespace in found])
    return found
