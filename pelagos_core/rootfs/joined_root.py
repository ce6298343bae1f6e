"""The root of a running container, for one more process in it: entered as it is, or in a copy.

The process stays among the host's mounts until it is sealed, as the init process does: an
engine that is a program needs files of the host. A copy shows nothing that the container mounts later.

container: in each function a pidfd of the container's init process. Source: setns(2), open_tree(2).
"""

from __future__ import annotations

import os

from pelagos_core.errors import NotFound
from pelagos_core.linux import namespaces, syscalls
from pelagos_core.linux.descriptor import Fd
from pelagos_core.rootfs.propagation import make_mounts_private
from pelagos_core.rootfs.root import Root

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_TREE = syscalls.OPEN_TREE_CLONE | syscalls.AT_RECURSIVE
_DETACH_TRIES = 3  # a container can rename what lies on the way to a mount while it is detached


def find(root: Root, container: int) -> None:
    """Have the container's `/` as the root, so that paths can be resolved in it. Raises OSError."""
    with _Visit(container):
        root.adopt(os.open("/", _DIRECTORY))


def copy(root: Root, container: int, inside: str) -> None:
    """Have a copy of the container's mounts as the root, in a mount namespace of its own.

    root: its path is a directory of the host on which the copy is put. inside: where in the container's
    mount namespace its root is: elsewhere than at `/`, in an engine root. Raises OSError.
    """
    with Fd(_copy_of_tree(container, inside)) as tree:
        namespaces.unshare(("mount",))
        make_mounts_private()
        with Fd(root.open_directory()) as target:
            syscalls.move_mount(tree, target, root.path)
    root.adopt(root.open_directory())


def check_directory(root: Root, path: str) -> None:
    """Raises NotFound unless `path` is a directory, as the container resolves it."""
    try:
        os.close(root.open(path, os.O_PATH | os.O_DIRECTORY))
    except OSError as error:
        raise NotFound(f"working directory {path!r} in the container: {error.strerror}") from None


def enter(root: Root, container: int) -> None:
    """Enter the container's own mount namespace for good. Raises OSError."""
    syscalls.setns(container, syscalls.CLONE_NEWNS)  # which makes its root `/`, for this process too
    os.close(root.fd)
    root.fd = -1


def _copy_of_tree(container: int, inside: str) -> int:
    with _Visit(container):
        if inside != "/":
            namespaces.unshare(("mount",))
            make_mounts_private()
            # On top is a form of it in which nothing can be executed: see `Root.enclose`.
            syscalls.umount2(inside, syscalls.MNT_DETACH)
        return syscalls.open_tree(syscalls.AT_FDCWD, inside, _TREE)


class _Visit:
    """A stay in the mount namespace of another process."""

    def __init__(self, pidfd: int) -> None:
        self._pidfd = pidfd
        self._home = -1

    def __enter__(self) -> None:
        self._home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        syscalls.setns(self._pidfd, syscalls.CLONE_NEWNS)

    def __exit__(self, *exception: object) -> None:
        syscalls.setns(self._home, syscalls.CLONE_NEWNS)
        os.close(self._home)
