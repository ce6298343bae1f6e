"""The mount points of control groups on this host, and the path of a container's group below them.

Source: cgroups(7), proc(5) "mountinfo", OCI runtime spec "Cgroups Path". The path's form distinguishes the drivers
cgroupfs (`/a/b`) and systemd (`slice:prefix:name`), so there is no setting that could contradict containerd's.
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
    """A mounted cgroup hierarchy: its mount point, and its v1 controllers (none for v2)."""

    mount_point: str
    controllers: frozenset[str] = frozenset()

    @property
    def unified(self) -> bool:
        """Whether it is v2's one hierarchy."""
        return not self.controllers


def parse_mountinfo(text: bytes) -> tuple[Hierarchy, ...]:
    """The hierarchies in the text of a /proc/PID/mountinfo: those of v1 if there are any, else v2's.

    In hybrid mode v1 has the controllers; the v2 mount has none.
    """
    v1, v2 = [], []
    for mount in mountinfo.parse(text, b"cgroup"):
        if mount.type == "cgroup":
            v1.append(Hierarchy(mount.path, mount.options - {"rw", "ro"}))
        elif mount.type == "cgroup2":
            v2.append(Hierarchy(mount.path))
    return tuple(v1 or v2[:1])


def hierarchies() -> tuple[Hierarchy, ...]:
    """The hierarchies that are mounted in the calling process' mount namespace."""
    with Fd(os.open(_MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC)) as file:
        return parse_mountinfo(_text(file))


class KnownHierarchies:
    """The hierarchies of this host, read again only after a mount has changed. For long-lived processes.

    A node may have hundreds of mounts, and a daemon needs the hierarchies for each container. poll(2) reports the open
    file once after each mount or unmount in its namespace (proc(5), "/proc/pid/mounts").
    """

    def __init__(self) -> None:
        """Open the file of the current mount namespace. The owner must call `close`."""
        self._file = os.open(_MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC)
        self._changes = select.poll()
        self._changes.register(self._file, select.POLLPRI)
        self._found: tuple[Hierarchy, ...] | None = None

    def now(self) -> tuple[Hierarchy, ...]:
        """The current hierarchies."""
        # poll(2) before the read: a change in between is reported at the next call.
        if self._changes.poll(0) or self._found is None:
            os.lseek(self._file, 0, os.SEEK_SET)
            self._found = parse_mountinfo(_text(self._file))
        return self._found

    def close(self) -> None:
        """Close the file; `now` must not be called any more."""
        os.close(self._file)


def _text(file: int) -> bytes:
    text = b""
    while chunk := os.read(file, _CHUNK_BYTES):
        text += chunk
    return text


def relative_path(cgroups_path: str, name: str) -> str:
    """The group's path below each hierarchy's mount point, starting with a slash.

    cgroups_path: `linux.cgroupsPath`. name: the group's name below `/pelagos`, for an empty path. Raises
    InvalidArgument for an invalid path.
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
    """The slice and the scope of a path in systemd's form; None for any other path. Raises InvalidArgument."""
    named = _unit(cgroups_path)
    if named is None or not named[1].endswith(".scope"):
        return None
    _slice_path(named[0])  # raises InvalidArgument if it is not a slice
    return named


def _unit(cgroups_path: str) -> tuple[str, str] | None:
    """Split `slice:prefix:name` into a slice and a unit in it: a scope, unless `name` is that of a slice."""
    if cgroups_path.count(":") != 2 or "/" in cgroups_path:
        return None
    slice_name, prefix, unit = cgroups_path.split(":")
    if not unit.endswith(".slice"):
        unit = f"{prefix}-{unit}.scope" if prefix else f"{unit}.scope"
    return slice_name or "system.slice", unit


def _slice_path(name: str) -> str:
    """The path of a slice. systemd.slice(5): `a-b.slice` is in `a.slice`; `-.slice` is the root."""
    if name == "-.slice":
        return ""
    stem = name.removesuffix(".slice")
    if stem == name or not all(stem.split("-")):
        raise InvalidArgument(f"linux.cgroupsPath: {name!r} is not a systemd slice")
    parts = stem.split("-")
    return "".join(f"/{'-'.join(parts[: i + 1])}.slice" for i in range(len(parts)))
