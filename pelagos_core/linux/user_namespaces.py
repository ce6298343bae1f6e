"""User namespaces: maps of ids, written by a process with the privileges of the host.

Source: user_namespaces(7).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable

from pelagos_core.errors import PermissionDenied
from pelagos_core.linux import child, syscalls
from pelagos_core.oci import IdMap, IdMaps


def make(id_maps: IdMaps) -> int:
    """A user namespace with these maps and no process in it; a descriptor of it.

    For mounts whose ids are mapped. Raises OSError or PermissionDenied.
    """
    with child.fork_reporting(_stay, syscalls.CLONE_NEWUSER) as process:
        name = (process.read() or b"").decode()
        write_maps(f"/proc/{name}", id_maps)
        return os.open(f"/proc/{name}/ns/user", os.O_RDONLY | os.O_CLOEXEC)


def _stay(report: int) -> None:
    """In the child: report the name that /proc has for it, and wait to be killed.

    Its own pid may be of a pid namespace that is not the one of /proc.
    """
    os.write(report, os.readlink("/proc/self").encode())
    signal.pause()


def write_maps(process: str, id_maps: IdMaps) -> None:
    """Map the ids of a process that was born into a new user namespace.

    process: its directory in /proc. Raises PermissionDenied that names the map.
    """
    for name, ranges in (("gid_map", id_maps.groups), ("uid_map", id_maps.users)):
        try:
            # Unbuffered: the kernel takes the map in one write only.
            with open(f"{process}/{name}", "wb", buffering=0) as file:
                file.write(_text(ranges))
        except OSError as error:
            raise PermissionDenied(f"{name} {_text(ranges).decode().strip()!r}: {error.strerror}") from None


def _text(ranges: Iterable[IdMap]) -> bytes:
    return "".join(f"{each.inside} {each.outside} {each.size}\n" for each in ranges).encode()
