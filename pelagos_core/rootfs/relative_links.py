"""Showing links that a WASI engine does not follow as links that it follows.

An engine opens paths relative to a directory, beneath which it stays: for it an absolute link leads
out (cap-std: EPERM), though it means the container's own root, and so does one with more `..` than
there are parents. The image is not changed: such a link is covered by a mount, whose root is another
link. Source: openat2(2), open_tree(2), move_mount(2).
"""

from __future__ import annotations

import errno
import os
import posixpath
from collections.abc import Iterable

from pelagos_core.linux import syscalls
from pelagos_core.linux.descriptor import Fd
from pelagos_core.rootfs import path_walk
from pelagos_core.rootfs.mount_options import ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY
from pelagos_core.rootfs.root import Root

_OF_LINK = syscalls.OPEN_TREE_CLONE | syscalls.AT_SYMLINK_NOFOLLOW
_AS_ENGINES = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_MAGICLINKS
_ATTRIBUTES = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC


def show(root: Root, paths: Iterable[str]) -> None:
    """Have each of these paths of a container lead an engine where it leads the container's programs.

    In the init process, in its own mount namespace, whose mounts are private. What is not there is
    passed over. Raises OSError.
    """
    links = {link: target for path in paths for link, target in _unfollowed(root, path)}
    if not links:
        return
    with Fd(syscalls.mount_detached("tmpfs", {"source": "links", "mode": "755"}, _ATTRIBUTES)) as made:
        # It is mounted for a moment: a copy of a mount that is attached nowhere needs Linux 6.15.
        syscalls.move_mount(made, root.fd, "links")
        trees = {link: _tree(made, str(number), links[link]) for number, link in enumerate(links)}
        syscalls.umount2(f"/proc/self/fd/{made}", syscalls.MNT_DETACH)
    for link, tree in trees.items():
        _cover(root, link, tree)


def _unfollowed(root: Root, path: str) -> list[tuple[str, str]]:
    """The links on the way to a path that an engine gives up, and what they should say."""
    path = posixpath.normpath(f"/{path.lstrip('/')}")
    try:
        os.close(syscalls.openat2(root.fd, f".{path}", os.O_PATH, _AS_ENGINES))
        return []  # as nearly always: one system call is all that this costs
    except OSError as error:
        if error.errno != errno.EXDEV:
            return []
    try:
        return [(link.path, _relative(root, link)) for link in path_walk.walk(root.fd, path).links]
    except OSError:  # in a container in use, whose programs may have made a loop of it
        return []


def _relative(root: Root, link: path_walk.Link) -> str:
    """Where a link leads, from where it is, without another link on the way."""
    parent = posixpath.dirname(link.path)
    return posixpath.relpath(path_walk.walk(root.fd, posixpath.join(parent, link.target)).path, parent)


def _tree(directory: int, name: str, target: str) -> int:
    os.symlink(target, name, dir_fd=directory)
    tree = syscalls.open_tree(directory, name, _OF_LINK)
    syscalls.mount_setattr(tree, 0, ATTR_RDONLY, 0, 0)
    return tree


def _cover(root: Root, link: str, tree: int) -> None:
    # Through no link: one that is put in the way by now leads to an error, and not elsewhere.
    flags = os.O_PATH | os.O_NOFOLLOW
    with Fd(tree), Fd(syscalls.openat2(root.fd, link, flags, path_walk.WITHOUT_LINKS)) as place:
        syscalls.move_mount(tree, place, link)
