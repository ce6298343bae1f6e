"""The change of root. Source: pivot_root(2), mount_namespaces(7)."""

from __future__ import annotations

import os

from pelagos_core.linux import syscalls
from pelagos_core.linux.descriptor import Fd


def change_root(new: int) -> None:
    """Make a directory `/` of the calling process' mount namespace, and forget what was.

    new: a descriptor of it; it must be a mount. Raises OSError.
    """
    with Fd(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as old:
        os.fchdir(new)
        # pivot_root(2), "pivot_root(".", ".")": the old root is stacked on the new one.
        syscalls.pivot_root(".", ".")
        # Where mounts are shared, the host would see its own ones go. By its descriptor: "." is the
        # new root, whose mounts are to stay in the peer groups of their sources.
        os.fchdir(old)
        syscalls.mount("", ".", "", syscalls.MS_REC | syscalls.MS_SLAVE, "")
        syscalls.umount2(".", syscalls.MNT_DETACH)
    os.chdir("/")
