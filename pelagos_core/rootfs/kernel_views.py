"""What keeps a Wasm guest from its own engine: no mount of its container shows the kernel.

A guest has `/` preopened. If it could open `/proc/self/mem` there, by whatever name, it would
write to the engine's memory and leave the Wasm sandbox; all engines open it for it. So the
mounts are looked at as they are in the end, not as they were asked for.
"""

from __future__ import annotations

import contextlib
import os
import posixpath

from pelagos_core.errors import PermissionDenied
from pelagos_core.linux import syscalls
from pelagos_core.linux.descriptor import Fd
from pelagos_core.oci import Mount
from pelagos_core.rootfs import mount_table
from pelagos_core.rootfs.mount_options import parse_options
from pelagos_core.rootfs.mount_table import MountPoint
from pelagos_core.rootfs.path_walk import RESOLVE
from pelagos_core.rootfs.root import Root

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_STRAIGHT = RESOLVE | syscalls.RESOLVE_NO_SYMLINKS
_FROM_HOST = syscalls.MS_SHARED | syscalls.MS_SLAVE


def remove(root: Root, volumes: tuple[Mount, ...]) -> None:
    """Take every view of the kernel out of a container's root.

    In the init process, in its own mount namespace; /proc is still the host's.
    volumes: the mounts that the spec asks for. Kernel mounts below one of them are
        unmounted; a mount that is one itself is refused, and so is shared or slave propagation.
    Raises PermissionDenied that names the mount.
    """
    for volume in volumes:
        if parse_options(volume.options).propagation & _FROM_HOST:
            raise PermissionDenied(
                f"mount on {volume.destination!r}: what the host mounts there later cannot be checked, "
                "so a Wasm guest gets no shared or slave mounts"
            )
    syscalls.mount_setattr(root.fd, syscalls.AT_RECURSIVE, 0, 0, syscalls.MS_PRIVATE)
    with Fd(os.open("/proc/self", _DIRECTORY)) as proc:
        views = _views(root, proc)
        _unmount(views, {_resolved(volume.destination, root) for volume in volumes}, root)
    if views:
        check(root)


def check(root: Root) -> None:
    """Look again: what was mounted since. Raises PermissionDenied that names the mount."""
    with Fd(os.open("/proc/self", _DIRECTORY)) as proc:
        for mount, view in _views(root, proc):
            raise _refusal(mount, view, root)


def _views(root: Root, proc: int) -> list[tuple[MountPoint, str]]:
    """The mounts that show the kernel, and what they show."""

    def look(path: str) -> os.stat_result:
        with Fd(_open(path, root)) as mounted:
            return os.fstat(mounted)

    return [(mount, view) for mount in mount_table.read(proc, _path(root.fd)) if (view := mount.view(look))]


def _open(path: str, root: Root) -> int:
    """What is at a path of the mount table, found from the root. Raises OSError.

    The directories above the root are the host's: in a user namespace they may be closed to us.
    """
    inside = os.path.relpath(path, _path(root.fd))
    return syscalls.openat2(root.fd, inside, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, _STRAIGHT)


def _unmount(views: list[tuple[MountPoint, str]], asked: set[str], root: Root) -> None:
    for mount, view in views:
        if mount.path in asked:
            raise _refusal(mount, view, root)
    for mount, _ in reversed(views):  # what is on top first
        # An error: it is gone with what it was on, or found again by the caller.
        with contextlib.suppress(OSError), Fd(_open(mount.path, root)) as mounted:
            syscalls.umount2(f"/proc/self/fd/{mounted}", syscalls.MNT_DETACH)


def _resolved(path: str, root: Root) -> str:
    """Where a path of the container leads, as the mount table names it; empty for nowhere."""
    try:
        fd = Fd(root.open(path, os.O_PATH))
    except OSError:
        return ""
    with fd:
        return _path(fd)


def _path(fd: int) -> str:
    return os.readlink(f"/proc/self/fd/{fd}")


def _refusal(mount: MountPoint, view: str, root: Root) -> PermissionDenied:
    path = posixpath.normpath(f"/{os.path.relpath(mount.path, _path(root.fd))}")
    return PermissionDenied(f"mount on {path!r}: {view}: by that a Wasm guest could reach its own engine")
