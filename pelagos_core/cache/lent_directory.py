"""A directory of the cache as a process that is not trusted gets it."""

from __future__ import annotations

from pelagos_core.linux import syscalls
from pelagos_core.linux.descriptor import Fd
from pelagos_core.rootfs.mount_options import ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY


def detached(directory: int) -> int:
    """A read-only mount of one directory that is attached nowhere; a descriptor of it.

    Through it nothing outside the directory can be reached, not by `..` either, and nothing
    be written, by any process that holds it. Files in it can be mapped for execution. It is gone when the
    descriptor is closed. The directory must be of the caller's own mount namespace.
    Raises OSError.
    """
    with Fd(syscalls.open_tree(directory, "", syscalls.OPEN_TREE_CLONE | syscalls.AT_EMPTY_PATH)) as tree:
        syscalls.mount_setattr(tree, 0, ATTR_RDONLY | ATTR_NODEV | ATTR_NOSUID, ATTR_NOEXEC, 0)
        return tree.release()
