"""The container's own control groups, as it sees them below /sys/fs/cgroup.

Source: cgroup_namespaces(7), OCI runtime spec "Mounts" (type `cgroup`).
"""

from __future__ import annotations

import posixpath

from pelagos_core.cgroups.group import Cgroup
from pelagos_core.cgroups.hierarchies import Hierarchy, hierarchies
from pelagos_core.oci import Mount
from pelagos_core.rootfs.root import Root

_DIRECTORY = ("nosuid", "nodev", "noexec", "mode=755")


def show(root: Root, mount: Mount, cgroup: Cgroup, *, namespaced: bool) -> None:
    """Mount the groups: one tree for v2, a directory of hierarchies for v1.

    namespaced: with a cgroup namespace the kernel shows only what is below the container's
        own groups; without one just these are bound, as runc does.
    """
    found = hierarchies()
    if all(not hierarchy.controllers for hierarchy in found):
        _show_one(root, mount, found[0], cgroup, namespaced=namespaced)
        return
    root.mount(Mount(mount.destination, "tmpfs", "cgroup", _DIRECTORY))
    for hierarchy in found:
        name = posixpath.basename(hierarchy.mount_point)
        place = Mount(f"{mount.destination}/{name}", mount.type, "cgroup", mount.options)
        _show_one(root, place, hierarchy, cgroup, namespaced=namespaced)
        for alias in name.split(",") if "," in name else ():
            root.make_link(f"{mount.destination}/{alias}", name)
    if "ro" in mount.options:
        root.make_mount_readonly(mount.destination)


def _show_one(root: Root, mount: Mount, hierarchy: Hierarchy, cgroup: Cgroup, *, namespaced: bool) -> None:
    if namespaced:
        kind = "cgroup" if hierarchy.controllers else "cgroup2"
        names = [f"none,{name}" if name.startswith("name=") else name for name in sorted(hierarchy.controllers)]
        root.mount(Mount(mount.destination, kind, "cgroup", (*mount.options, *names)))
        return
    own = [path for path in cgroup.paths if path.startswith(f"{hierarchy.mount_point}/")]
    for path in own:
        root.mount(Mount(mount.destination, "bind", path, ("bind", *mount.options)))
