"""The mounts of the container's control groups below /sys/fs/cgroup.

Source: cgroup_namespaces(7), OCI runtime spec "Mounts" (type `cgroup`).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from pelagos_core.cgroups.group import Cgroup
from pelagos_core.cgroups.hierarchies import Hierarchy, hierarchies
from pelagos_core.native.instruction import instruction
from pelagos_core.oci import Mount
from pelagos_core.rootfs.mount_options import ATTR_RDONLY
from pelagos_core.rootfs.mounts import Mounting, mounting

_DIRECTORY = ("nosuid", "nodev", "noexec", "mode=755")


def mountings(mount: Mount, cgroup: Cgroup, *, namespaced: bool) -> tuple[Mounting, ...]:
    """Mount the groups: one tree for v2, a directory of hierarchies for v1.

    namespaced: whether there is a cgroup namespace, in which a mount shows only the container's groups and those
        below. Without a namespace these groups are bound, as in runc.
    """
    found = hierarchies()
    if all(not hierarchy.controllers for hierarchy in found):
        return tuple(_of_one(mount, found[0], cgroup, namespaced=namespaced))
    shown = [mounting(Mount(mount.destination, "tmpfs", "cgroup", _DIRECTORY))]
    for hierarchy in found:
        name = posixpath.basename(hierarchy.mount_point)
        place = Mount(f"{mount.destination}/{name}", mount.type, "cgroup", mount.options)
        shown += _of_one(place, hierarchy, cgroup, namespaced=namespaced)
        aliases = name.split(",") if "," in name else []
        links = (instruction("make_link", mount.destination, each, name, 0) for each in aliases)
        shown.append(Mounting(place, tuple(links)))
    if "ro" in mount.options:
        shown.append(Mounting(mount, (instruction("change_mount", mount.destination, 0, ATTR_RDONLY, 0, 0),)))
    return tuple(shown)


def _of_one(mount: Mount, hierarchy: Hierarchy, cgroup: Cgroup, *, namespaced: bool) -> Iterator[Mounting]:
    if namespaced:
        kind = "cgroup" if hierarchy.controllers else "cgroup2"
        names = [f"none,{name}" if name.startswith("name=") else name for name in sorted(hierarchy.controllers)]
        yield mounting(Mount(mount.destination, kind, "cgroup", (*mount.options, *names)))
        return
    for path in cgroup.paths:
        if path.startswith(f"{hierarchy.mount_point}/"):
            yield mounting(Mount(mount.destination, "bind", path, ("bind", *mount.options)))
