"""Moves the calling process to the control groups of another process, or to an existing group.

Source: cgroups(7). A line of /proc/PID/cgroup is `id:controllers:path`; for v2 it has no controllers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from pelagos_core.cgroups.hierarchies import Hierarchy
from pelagos_core.errors import NotFound, PermissionDenied
from pelagos_core.linux import mountinfo
from pelagos_core.linux.descriptor import Fd


def move_to(wanted: str, own: str, mounts: str) -> None:
    """Move the calling process, which must have one thread, to another process' groups. Equal groups are skipped.

    wanted, own: the texts of /proc/PID/cgroup of the other process and of the caller.
    mounts: the text of the caller's /proc/self/mountinfo.
    Raises OSError, also for a hierarchy that is not mounted.
    """
    for line in sorted(set(wanted.splitlines()) - set(own.splitlines())):
        _, controllers, path = line.split(":", 2)
        directory = f"{_mount_point(controllers, mounts)}{path.rstrip('/')}"
        # As in `joining`: on v1 the move of one thread is ten times as fast.
        file = "tasks" if controllers else "cgroup.procs"
        with Fd(os.open(f"{directory}/{file}", os.O_WRONLY | os.O_CLOEXEC)) as fd:
            os.write(fd, b"0")  # 0: the writing process or thread


def enter(path: str, hierarchies: Iterable[Hierarchy]) -> None:
    """Move the calling process to an existing group, in each hierarchy that has it.

    path: of the group below a hierarchy's mount point, absolute.
    Raises NotFound if no hierarchy has the group, PermissionDenied if the kernel refuses the move.
    """
    there = [found for each in hierarchies if os.path.isdir(found := each.mount_point + path)]
    if not there:
        raise NotFound(f"control group {path!r} does not exist")
    for directory in there:
        try:
            with open(f"{directory}/cgroup.procs", "wb", buffering=0) as file:
                file.write(b"0")
        except OSError as error:
            raise PermissionDenied(f"control group {directory!r}: {(error.strerror or '').lower()}") from None


def _mount_point(controllers: str, mounts: str) -> str:
    wanted = set(controllers.split(",")) - {""}
    for mount in mountinfo.parse(os.fsencode(mounts), b"cgroup"):
        if mount.type == ("cgroup" if wanted else "cgroup2") and wanted <= mount.options:
            return mount.path
    raise FileNotFoundError(2, "not mounted", f"cgroup hierarchy {controllers or 'v2'}")
