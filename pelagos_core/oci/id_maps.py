"""Ranges of user and group ids: `uidMappings` and `gidMappings` of the OCI runtime spec."""

from __future__ import annotations

from dataclasses import dataclass

from pelagos_core.errors import InvalidArgument
from pelagos_core.oci.field import Field

_MAX_RANGES = 340  # user_namespaces(7): the kernel's maximum of lines
_MAX_U32 = 2**32 - 1


@dataclass(frozen=True, slots=True)
class IdMap:
    """One range: maps `size` ids from `inside` on to the ids from `outside` on."""

    inside: int
    outside: int
    size: int


@dataclass(frozen=True, slots=True)
class IdMaps:
    """The maps of user ids and group ids; false if both are empty."""

    users: tuple[IdMap, ...] = ()
    groups: tuple[IdMap, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.users or self.groups)

    def lines(self) -> list[str]:
        """A description of each range, for the log."""
        return [
            f"{kind} {each.inside} is {each.outside}, {each.size} ids"
            for kind, ranges in (("user", self.users), ("group", self.groups))
            for each in ranges
        ]

    def user_outside(self, uid: int) -> int | None:
        """The id outside of the namespace for an id inside; None if it is not mapped."""
        found = (each for each in self.users if each.inside <= uid < each.inside + each.size)
        return next((each.outside + uid - each.inside for each in found), None)


NO_ID_MAPS = IdMaps()


def read_id_maps(parent: Field) -> IdMaps:
    """Read `uidMappings` and `gidMappings` of an object. Raises InvalidArgument."""
    users, groups = parent.get("uidMappings"), parent.get("gidMappings")
    return IdMaps(_read(users), _read(groups)) if users or groups else NO_ID_MAPS


def _read(ranges: Field) -> tuple[IdMap, ...]:
    found = ranges.each(_read_range)
    if len(found) > _MAX_RANGES:
        ranges.refuse(f"more than {_MAX_RANGES} ranges")
    return found


def _read_range(range_: Field) -> IdMap:
    numbers = [range_.get(name).number(_MAX_U32) for name in ("containerID", "hostID", "size")]
    if not numbers[2]:
        range_.refuse("size 0")
    return IdMap(*numbers)


def parse_option(option: str) -> tuple[IdMap, ...]:
    """Parse the ranges of a mount option of containerd, `0:100000:65536,…`. Raises InvalidArgument."""
    try:
        ranges = [[int(number) for number in word.split(":")] for word in option.split(",")]
        return tuple(IdMap(*numbers) for numbers in ranges)
    except (ValueError, TypeError):
        raise InvalidArgument(f"{option!r} is not a list of id ranges") from None
