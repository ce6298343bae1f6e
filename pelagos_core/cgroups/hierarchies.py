"""Where control groups are on this host, and where in them a container's group belongs.

Source: cgroups(7), proc(5) "mountinfo", OCI runtime spec "Cgroups Path". The path's shape tells
cgroupfs (`/a/b`) from systemd (`slice:prefix:name`), so that no setting can drift from what
containerd does.
"""

from __future__ import annotations

from dataclasses import dataclass

from pelagos_core.errors import InvalidArgument
from pelagos_core.linux import mountinfo

DEFAULT_PARENT = "/pelagos"


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
    """The hierarchies of this host."""
    with open("/proc/self/mountinfo", "rb") as file:
        return parse_mountinfo(file.read())


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
