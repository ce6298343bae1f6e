"""Propagation: in which namespaces a mount is seen. In a process with a mount namespace of its own.

Source: mount_namespaces(7).
"""

from __future__ import annotations

import os

from pelagos_core.linux import syscalls
from pelagos_core.linux.descriptor import Fd
from pelagos_core.rootfs import mount_table


def make_mounts_private() -> None:
    """Keep the host from seeing what is mounted in the calling process' new namespace."""
    set_propagation(syscalls.MS_PRIVATE)


def set_propagation(flag: int, *, recursive: bool = True) -> None:
    """Set the propagation of `/` in the calling process' mount namespace, and of all below it."""
    syscalls.mount("", "/", "", flag | (syscalls.MS_REC if recursive else 0), "")


def make_parent_private(path: str) -> None:
    """Make the mount that `path` is in private: what is mounted there stays in this namespace."""
    whole = os.path.realpath(path)
    with Fd(os.open("/proc/self", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as proc:
        found = mount_table.read(proc)
    points = [each.path for each in found if whole == each.path or whole.startswith(each.path.rstrip("/") + "/")]
    syscalls.mount("", max(points, key=len), "", syscalls.MS_PRIVATE, "")
