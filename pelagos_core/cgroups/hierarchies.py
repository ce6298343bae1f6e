"""Where control groups are on this host, and where in them a container's group belongs.

Source: cgroups(7), proc(5) "mountinfo", OCI runtime spec "Cgroups Path". The path's shape tells
cgroupfs (`/a/b`) from systemd (`slice:prefix:name`), so that no setting can drift from what
containerd does.
"""

from __future__ import annotations

import os
import select
from dataclasses import dataclass

from pelagos_core.errors import InvalidArgument
from pelagos_core.linux import mountinfo
from pelagos_core.linux.descriptor import Fd

DEFAULT_PARENT = "/pelagos"
_CHUNK_BYTES = 64 << 10
_MOUNTINFO = "/proc/self/mountinfo"


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A mounted cgroup hierarchy: where, and which v1 controllers (none for v2)."""

    mount_point: str
    controllers: frozenset[str] = frozenset()

    @property
    def unified(self) -> bool:
        """Whether it is v2's one hierarchy."""
        return not self.controllers


def parse_mountinfo(text: bytes) -> tuple[Hierarchy, ...]:
    """The hierarchies in a /proc/PID/mountinfo: the v1 ones if there are any, else v2.

    In hybrid mode limits are v1's; the v2 mount beside them has no controllers.
    """
    v1, v2 = [], []
    for mount in mountinfo.parse(text, b"cgroup"):
        if mount.type == "cgroup":
            v1.append(Hierarchy(mount.path, mount.options - {"rw", "ro"}))
        elif mount.type == "cgroup2":
            v2.append(Hierarchy(mount.path))
    return tuple(v1 or v2[:1])


def hierarchies() -> tuple[Hierarchy, ...]:
    """The hierarchies of this host, as the calling process' mount namespace has them."""
    with Fd(os.open(_MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC)) as file:
        return parse_mountinfo(_text(file))


class KnownHierarchies:
    """The hierarchies of this host, read again only after a mount has changed. For a process that stays.

    A node may have hundreds of mounts, and a daemon asks for each container. proc(5), "/proc/pid/mounts": poll(2)
    reports an open file once after each mount or unmount in the namespace that it was opened in.
    """

    def __init__(self) -> None:
        """In the mount namespace of this moment. `close` is for the owner to call."""
        self._file = os.open(_MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC)
        self._changes = select.poll()
        self._changes.register(self._file, select.POLLPRI)
        self._found: tuple[Hierarchy, ...] | None = None

    def now(self) -> tuple[Hierarchy, ...]:
        """The hierarchies at this moment."""
        # Asked before the file is read: what changes in between is reported the next time.
        if self._changes.poll(0) or self._found is None:
            os.lseek(self._file, 0, os.SEEK_SET)
            self._found = parse_mountinfo(_text(self._file))
        return self._found

    def close(self) -> None:
        """Close the file; no further call can be made."""
        os.close(self._file)


def _text(file: int) -> bytes:
    text = b""
    while chunk := os.read(file, _CHUNK_BYTES):
        text += chunk
    return text


def relative_path(cgroups_path: str, name: str) -> str:
    """The group's path below each hierarchy's mount point, starting with a slash.

    cgroups_path: `linux.cgroupsPath`. name: the group's name in `/pelagos` if it is empty.
    """
    if not cgroups_path:
        return f"{DEFAULT_PARENT}/{name}"
    if named := _unit(cgroups_path):
        slice_name, unit = named
        return f"{_slice_path(slice_name)}/{unit}"
    path = "/" + "/".join(part for part in cgroups_path.split("/") if part not in ("", "."))
    if path == "/":
        raise InvalidArgument("linux.cgroupsPath: '/' is the host's own group")
    return path


def scope_of(cgroups_path: str) -> tuple[str, str] | None:
    """The slice and the scope that a path of systemd's form names; None for any other path."""
    named = _unit(cgroups_path)
    if named is None or not named[1].endswith(".scope"):
        return None
    _slice_path(named[0])  # refuses what is no slice
    return named


def _unit(cgroups_path: str) -> tuple[str, str] | None:
    """`slice:prefix:name` as a slice and a unit in it, which is a scope unless the name is a slice's."""
    if cgroups_path.count(":") != 2 or "/" in cgroups_path:
        return None
    slice_name, prefix, unit = cgroups_path.split(":")
    if not unit.endswith(".slice"):
        unit = f"{prefix}-{unit}.scope" if prefix else f"{unit}.scope"
    return slice_name or "system.slice", unit


def _slice_path(name: str) -> str:
    """systemd.slice(5): `a-b.slice` lies in `a.slice`; `-.slice` is the root."""
    if name == "-.slice":
        return ""
    stem = name.removesuffix(".slice")
    if stem == name or not all(stem.split("-")):
        raise InvalidArgument(f"linux.cgroupsPath: {name!r} is not a systemd slice")
    parts = stem.split("-")
    return "".join(f"/{'-'.join(parts[: i + 1])}.slice" for i in range(len(parts)))
