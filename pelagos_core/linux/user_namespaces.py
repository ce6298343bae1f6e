"""User namespaces: maps of ids, written by a process with the privileges of the host.

Source: user_namespaces(7).
"""

from __future__ import annotations

from collections.abc import Iterable

from pelagos_core.errors import PermissionDenied
from pelagos_core.oci import IdMap, IdMaps


def write_maps(process: str, id_maps: IdMaps) -> None:
    """Map the ids of a process that was born into a new user namespace.

    process: its directory in /proc. Raises PermissionDenied that names the map.
    """
    for name, ranges in (("gid_map", id_maps.groups), ("uid_map", id_maps.users)):
        try:
            # Unbuffered: the kernel takes the map in one write only.
            with open(f"{process}/{name}", "wb", buffering=0) as file:
                file.write(map_text(ranges).encode())
        except OSError as error:
            raise PermissionDenied(f"{name} {map_text(ranges).strip()!r}: {error.strerror}") from None


def map_text(ranges: Iterable[IdMap]) -> str:
    """A map as the kernel reads it."""
    return "".join(f"{each.inside} {each.outside} {each.size}\n" for each in ranges)
