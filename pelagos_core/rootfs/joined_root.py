"""The root of a running container, for one more process in it.

The process stays among the host's mounts until it is sealed, as the init process does: an
engine that is a program needs files of the host. Source: setns(2), open_tree(2).
"""

from __future__ import annotations

import os

from pelagos_core.errors import NotFound
from pelagos_core.linux import namespaces, syscalls
from pelagos_core.rootfs.propagation import make_mounts_private
from pelagos_core.rootfs.root import Root

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_TREE = syscalls.OPEN_TREE_CLONE | syscalls.AT_RECURSIVE
_DETACH_TRIES = 3  # a container can rename what lies on the way to a mount while it is detached


class JoinedRoot(Root):
    """A container's `/`, seen from outside until `pivot`.

    Entered as it is, where that will do. Else a copy of its mounts is; what the container
    mounts later is not seen in it.
    """

    def __init__(self, path: str, pidfd: int, inside: str, *, has_user: bool = False) -> None:
        """path: a directory of the host on which a copy can be put.

        pidfd: of the container's init process; it belongs to this object.
        inside: where in that process' mount namespace the container's root is: elsewhere
            than at `/`, in an engine root, only a copy can be entered.
        has_user: whether the container has a user namespace, which is entered last.
        """
        super().__init__(path)
        self._pidfd = pidfd
        self._inside = inside
        self._has_user = has_user
        self._copied = False

    def find(self) -> None:
        """Open the root, so that paths can be resolved in it."""
        if self._inside != "/":
            self.copy()
            return
        with _Visit(self._pidfd):
            self.fd = os.open("/", _DIRECTORY)

    def check_directory(self, path: str) -> None:
        """Raises NotFound unless `path` is a directory, as the container resolves it."""
        try:
            os.close(self.open(path, os.O_PATH | os.O_DIRECTORY))
        except OSError as error:
            raise NotFound(f"working directory {path!r} in the container: {error.strerror}") from None

    def copy(self) -> None:
        """Take a copy of the container's mounts, if that was not done before."""
        if self._copied:
            return
        tree = self._copy_of_tree()
        try:
            namespaces.unshare(("mount",))
            make_mounts_private()
            target = self._open_directory()
            try:
                syscalls.move_mount(tree, target, self.path)
            finally:
                os.close(target)
        finally:
            os.close(tree)
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = self._open_directory()
        self._copied = True

    def enclose(self, path: str) -> None:
        """As for any root; the running container's own mounts stay as they are."""
        self.copy()
        super().enclose(path)

    def pivot(self) -> None:
        """Enter the container for good."""
        if self._copied:
            super().pivot()
        else:
            syscalls.setns(self._pidfd, syscalls.CLONE_NEWNS)  # which makes its root `/`, for us too
            os.close(self.fd)
            self.fd = -1
        if self._has_user:
            syscalls.setns(self._pidfd, syscalls.CLONE_NEWUSER)
        os.close(self._pidfd)

    def _copy_of_tree(self) -> int:
        with _Visit(self._pidfd):
            if self._inside != "/":
                namespaces.unshare(("mount",))
                make_mounts_private()
                # On top is a form of it in which nothing can be executed: see `enclose`.
                syscalls.umount2(self._inside, syscalls.MNT_DETACH)
            return syscalls.open_tree(syscalls.AT_FDCWD, self._inside, _TREE)


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
