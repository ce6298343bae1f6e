"""Narrowing a root to some of its directories, so that a guest has no others whatever its engine does."""

from __future__ import annotations

import os
import posixpath

from pelagos_core.config.policy import Directory
from pelagos_core.errors import NotFound
from pelagos_core.linux import syscalls
from pelagos_core.rootfs.mount_options import ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY
from pelagos_core.rootfs.root import Root

_EMPTY = {"source": "empty", "mode": "755", "size": "64k"}
_WHOLE_TREE = syscalls.OPEN_TREE_CLONE | syscalls.AT_RECURSIVE | syscalls.AT_EMPTY_PATH


def restrict(root: Root, directories: tuple[Directory, ...]) -> None:
    """Leave nothing of a root but some directories, in an empty one that is read-only.

    directories: the outer ones first. Raises NotFound for one that is not there.
    """
    trees: list[int] = []
    whole = bool(directories) and directories[0].path == "/"
    try:
        for directory in directories:
            trees.append(_tree(root, directory))
        if not whole:
            root.cover(syscalls.mount_detached("tmpfs", _EMPTY, ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC))
        for directory, tree in zip(directories, trees, strict=True):
            _put(root, directory.path, tree)
        if not whole:
            root.make_readonly()
    finally:
        for tree in trees:
            os.close(tree)


def directory_path(root: Root, path: str) -> str:
    """Where a directory of the container is, as a path from its root without symlinks; empty for none."""
    try:
        fd = root.open(path, os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return ""
    try:
        top, found = (os.readlink(f"/proc/self/fd/{each}") for each in (root.fd, fd))
    finally:
        os.close(fd)
    return posixpath.normpath(f"/{os.path.relpath(found, top)}")


def _tree(root: Root, directory: Directory) -> int:
    try:
        fd = root.open(directory.path, os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        raise NotFound(f"directory {directory.path!r} in the container: {error.strerror}") from None
    try:
        tree = syscalls.open_tree(fd, "", _WHOLE_TREE)
        if directory.readonly:
            syscalls.mount_setattr(tree, syscalls.AT_RECURSIVE, ATTR_RDONLY, 0, 0)
    finally:
        os.close(fd)
    return tree


def _put(root: Root, path: str, tree: int) -> None:
    if path == "/":
        root.cover(os.dup(tree))
        return
    root.make_directory(path)
    target = root.open(path, os.O_PATH)
    try:
        syscalls.move_mount(tree, target, path)
    finally:
        os.close(target)
