"""A directory or file of the host for a process that is not trusted."""

from __future__ import annotations

from pelagos_core.linux import syscalls
from pelagos_core.linux.descriptor import Fd
from pelagos_core.rootfs.mount_options import ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY


def detached(file: int) -> int:
    """Return a descriptor of a detached read-only mount of one directory or file.

    A process with the descriptor can neither reach files outside the directory, also not by `..`, nor write
    to it. Files in it can be mapped for execution. The kernel removes the mount when the last
    descriptor is closed. The directory or file must be in the caller's mount namespace.
    Raises OSError.
    """
    with Fd(syscalls.open_tree(file, "", syscalls.OPEN_TREE_CLONE | syscalls.AT_EMPTY_PATH)) as tree:
        syscalls.mount_setattr(tree, 0, ATTR_RDONLY | ATTR_NODEV | ATTR_NOSUID, ATTR_NOEXEC, 0)
        return tree.release()
