"""Narrowing a root to some of its directories, so that a guest has no others whatever its engine does."""

from __future__ import annotations

import contextlib
import os
import posixpath

from pelagos_core.config.policy import Directory
from pelagos_core.errors import NotFound
from pelagos_core.linux import syscalls
from pelagos_core.linux.descriptor import Fd
from pelagos_core.rootfs.mount_options import ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY
from pelagos_core.rootfs.root import Root

_EMPTY = {"source": "empty", "mode": "755", "size": "64k"}
_WHOLE_TREE = syscalls.OPEN_TREE_CLONE | syscalls.AT_RECURSIVE | syscalls.AT_EMPTY_PATH


def restrict(root: Root, directories: tuple[Directory, ...]) -> None:
    """Leave nothing of a root but some directories, in an empty one that is read-only.

    directories: the outer ones first. Raises NotFound for one that is not there.
    """
    whole = bool(directories) and directories[0].path == "/"
    with contextlib.ExitStack() as opened:
        trees = [opened.enter_context(Fd(_tree(root, directory))) for directory in directories]
        if not whole:
            root.cover(syscalls.mount_detached("tmpfs", _EMPTY, ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC))
        for directory, tree in zip(directories, trees, strict=True):
            _put(root, directory.path, tree)
        if not whole:
            root.make_readonly()


def directory_path(root: Root, path: str) -> str:
    """Where a directory of the container is, as a path from its root without symlinks; empty for none."""
    try:
        fd = Fd(root.open(path, os.O_PATH | os.O_DIRECTORY))
    except OSError:
        return ""
    with fd:
        top, found = (os.readlink(f"/proc/self/fd/{each}") for each in (root.fd, fd))
    return posixpath.normpath(f"/{os.path.relpath(found, top)}")


def _tree(root: Root, directory: Directory) -> int:
    try:
        fd = Fd(root.open(directory.path, os.O_PATH | os.O_DIRECTORY))
    except OSError as error:
        raise NotFound(f"directory {directory.path!r} in the container: {error.strerror}") from None
    with fd, Fd(syscalls.open_tree(fd, "", _WHOLE_TREE)) as tree:
        if directory.readonly:
            syscalls.mount_setattr(tree, syscalls.AT_RECURSIVE, ATTR_RDONLY, 0, 0)
        return tree.release()


def _put(root: Root, path: str, tree: int) -> None:
    if path == "/":
        root.cover(os.dup(tree))
        return
    root.make_directory(path)
    with Fd(root.open(path, os.O_PATH)) as target:
        syscalls.move_mount(tree, target, path)
