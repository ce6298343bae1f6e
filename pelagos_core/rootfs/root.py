"""The container's root: paths resolved inside it, mounts put on it, and the change into it.

Everything is done through descriptors that openat2(2) resolved with RESOLVE_IN_ROOT: an
absolute symlink or `..` in the image stays inside, and a magic link is refused. Runs in the
init process, as root, in a mount namespace of its own.
"""

from __future__ import annotations

import errno
import os
import stat

from pelagos_core.errors import InvalidArgument, NotFound, PermissionDenied
from pelagos_core.linux import syscalls
from pelagos_core.native.instruction import instruction
from pelagos_core.native.process import NativeProcess
from pelagos_core.oci import Mount
from pelagos_core.rootfs import device_nodes, mounts
from pelagos_core.rootfs.mount_options import ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY
from pelagos_core.rootfs.mounts import Mounting

RESOLVE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
"""How a path of a container is resolved: an absolute link or `..` stays inside, a magic link is refused."""

SHOWN = "root"
"""The part of an engine root's file system that is its root: see `enclose`."""

_WHOLE_TREE = syscalls.OPEN_TREE_CLONE | syscalls.AT_RECURSIVE | syscalls.AT_EMPTY_PATH
_ENGINE_ROOT = ATTR_NODEV | ATTR_NOSUID
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR)


class Root:
    """A directory of the host that becomes a container's `/`."""

    def __init__(self, path: str) -> None:
        """path: the directory's host path, from the bundle, not from the image."""
        self.path = path
        self.process = NativeProcess(path)

    @property
    def fd(self) -> int:
        """A descriptor of it, once there is one; else -1."""
        return self.process["root"]

    @fd.setter
    def fd(self, descriptor: int) -> None:
        self.process["root"] = descriptor

    def adopt(self, directory: int) -> None:
        """Have an open directory as the root from now on; the descriptor belongs to this object then."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = directory

    def open_directory(self) -> int:
        """Open what is at the root's path on the host. Raises NotFound or InvalidArgument."""
        try:
            return os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFound(f"root file system {self.path!r} does not exist") from None
        except NotADirectoryError:
            raise InvalidArgument(f"root file system {self.path!r} is not a directory") from None

    def open(self, path: str, flags: int) -> int:
        """Open a path as the container would resolve it. Raises OSError."""
        return syscalls.openat2(self.fd, path, flags, RESOLVE)

    def open_file(self, path: str) -> int | None:
        """Open a regular file for reading; None if it is not there.

        Raises PermissionDenied for what may not be resolved or read, InvalidArgument for
        anything that is not a regular file, both in the words of execve(2), by which docker
        and podman tell that their exit code is 126. Nothing of the file is read.
        """
        try:
            found = self.open(path, os.O_PATH)
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise PermissionDenied(f"entry point {path!r}: {_reason(error)}") from None
        try:
            # Looked at before it is opened: opening a FIFO waits for a writer, and opening a
            # device that the image brings may do anything.
            mode = os.fstat(found).st_mode
            if not stat.S_ISREG(mode):
                what = "is a directory" if stat.S_ISDIR(mode) else "not a regular file"
                raise InvalidArgument(f"entry point {path!r}: {what}: permission denied")
            return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise PermissionDenied(f"entry point {path!r}: {_reason(error)}") from None
        finally:
            os.close(found)

    def mount(self, mount: Mount) -> None:
        """Put a mount on its destination, which is made if it is missing. Raises OSError or PelagosError."""
        self._run(mounts.mounting(mount))

    def put(self, tree: int, path: str) -> None:
        """Put a detached mount on a path, which is made if it is missing; its descriptor is closed.

        Raises as `mount`.
        """
        self.process[mounts.TREE] = tree
        self._run(Mounting(Mount(path, "bind", path), (instruction("attach_tree", mounts.TREE, path),)))

    def make_directory(self, path: str) -> None:
        """Make a directory and its missing parents, as the container would resolve them. Raises as `mount`."""
        self._run(Mounting(Mount(path, "", ""), (instruction("make_directory", path),)))

    def make_link(self, path: str, target: str) -> None:
        """Make a symlink; what is there stays as it is. Raises as `mount`."""
        self._run(Mounting(Mount(path, "", ""), (device_nodes.link(path, target),)))

    def _run(self, mounting: Mounting) -> None:
        failed = self.process.run(mounting.instructions)
        if failed:
            error = OSError(failed.error, failed.strerror, mounting.mount.destination)
            raise mounts.failure((mounting,), failed) or error

    def cover(self, tree: int) -> None:
        """Put a detached mount on this root, in whose place it is from now on.

        tree: its descriptor, which belongs to this object then.
        """
        syscalls.move_mount(tree, self.fd, self.path)
        self.adopt(tree)

    def make_readonly(self) -> None:
        """Make the root mount itself read-only; mounts on top of it stay as they are."""
        syscalls.mount_setattr(self.fd, 0, ATTR_RDONLY, 0, 0)

    def enclose(self, path: str) -> int:
        """Put an empty root around this one, which is at `path` in it from now on.

        What is inside cannot be executed: it is a guest's, and a guest is no native program.
        Below that form of it is the root as it was, for native programs that join later.

        Returns a descriptor of the file system around it, which can be written to: the new root is its
        directory SHOWN, and what is in that can be moved out.
        """
        plain, sealed = self._clone(), self._clone()
        syscalls.mount_setattr(sealed, syscalls.AT_RECURSIVE, ATTR_NOEXEC, 0, 0)
        self.cover(syscalls.mount_detached("tmpfs", {"source": "engine", "mode": "755"}, _ENGINE_ROOT))
        surroundings = os.dup(self.fd)
        os.mkdir(SHOWN, 0o755, dir_fd=surroundings)
        self.cover(syscalls.open_tree(surroundings, SHOWN, syscalls.OPEN_TREE_CLONE))
        for tree in (plain, sealed):
            self.put(tree, path)
        return surroundings

    def _clone(self) -> int:
        return syscalls.open_tree(self.fd, "", _WHOLE_TREE)


def _reason(error: OSError) -> str:
    return (error.strerror or "").lower()
