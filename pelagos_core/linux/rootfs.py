"""The container's root: paths resolved inside it, mounts put on it, and the change into it.

Everything is done through descriptors that openat2(2) resolved with RESOLVE_IN_ROOT: an
absolute symlink or `..` in the image stays inside, and a magic link is refused. Runs in the
init process, as root, in a mount namespace of its own.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import posixpath
import stat

from pelagos_core.errors import InvalidArgument, NotFound, PermissionDenied
from pelagos_core.linux import mounts, syscalls
from pelagos_core.spec import Mount

_RESOLVE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_COPY_BYTES = 1 << 24
_ENGINE_ROOT = Mount("/", "tmpfs", "engine", ("nosuid", "nodev", "mode=755"))
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR)


class Root:
    """A directory of the host that becomes a container's `/`."""

    def __init__(self, path: str) -> None:
        """path: the directory's host path, from the bundle, not from the image."""
        self.path = path
        self.fd = -1

    def _open_directory(self) -> int:
        try:
            return os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFound(f"root file system {self.path!r} does not exist") from None
        except NotADirectoryError:
            raise InvalidArgument(f"root file system {self.path!r} is not a directory") from None

    def assemble(self, layers: tuple[Mount, ...]) -> None:
        """Mount the layers of a rootfs in order, or make the directory itself a mount.

        pivot_root(2) wants the new root to be a mount point. The directory is opened here and
        not before: a descriptor from another mount namespace cannot be mounted on.
        A device node that the image brings opens no device: a Wasm guest has no other guard
        against the host's disks.
        """
        self.fd = self._open_directory()
        for layer in layers or (Mount("/", "bind", self.path, ("rbind",)),):
            target = self.open(layer.destination, os.O_PATH)
            try:
                mounts.attach(layer, target)
            finally:
                os.close(target)
            # The descriptor of before still shows what the mount has covered.
            os.close(self.fd)
            self.fd = self._open_directory()
        syscalls.mount_setattr(self.fd, syscalls.AT_RECURSIVE, mounts.ATTR_NODEV, 0, 0)

    def open(self, path: str, flags: int) -> int:
        """Open a path as the container would resolve it. Raises OSError."""
        return syscalls.openat2(self.fd, path, flags, _RESOLVE)

    def open_file(self, path: str) -> int | None:
        """Open a regular file for reading; None if it is not there.

        Raises PermissionDenied for what may not be resolved or read, InvalidArgument for
        anything that is not a regular file. Nothing of the file is read.
        """
        try:
            # O_NONBLOCK: opening a FIFO of the image must not wait for a writer.
            fd = self.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise PermissionDenied(f"entry point {path!r}: {error.strerror}") from None
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
        raise InvalidArgument(f"entry point {path!r}: not a regular file")

    def mount(self, mount: Mount) -> None:
        """Put a mount of the spec on its destination, which is made if it is missing.

        Devices in a mounted directory cannot be opened; a device that is mounted itself can.
        """
        bind = mount.type == "bind" or mounts.parse_options(mount.options).bind
        as_file = bind and mounts.is_file(mount.source)
        if not as_file:
            mount = dataclasses.replace(mount, options=(*mount.options, "nodev"))
        target = self._mount_point(mount.destination, as_file=as_file)
        try:
            mounts.attach(mount, target)
        finally:
            os.close(target)

    def make_directory(self, path: str) -> None:
        """Make a directory and its missing parents, as the container would resolve them."""
        os.close(self._directory(posixpath.normpath(path)))

    def make_readonly(self) -> None:
        """Make the root mount itself read-only; mounts on top of it stay as they are."""
        syscalls.mount_setattr(self.fd, 0, mounts.ATTR_RDONLY, 0, 0)

    def enclose(self, path: str) -> None:
        """Put an empty root around this one, which is at `path` in it from now on.

        What is inside cannot be executed: it is a guest's, and a guest is no native program.
        """
        tree = syscalls.open_tree(
            self.fd, "", syscalls.OPEN_TREE_CLONE | syscalls.AT_RECURSIVE | syscalls.AT_EMPTY_PATH
        )
        try:
            syscalls.mount_setattr(tree, syscalls.AT_RECURSIVE, mounts.ATTR_NOEXEC, 0, 0)
            mounts.attach(_ENGINE_ROOT, self.fd)
            os.close(self.fd)
            self.fd = self._open_directory()
            target = self._directory(path)
            try:
                syscalls.move_mount(tree, target, path)
            finally:
                os.close(target)
        finally:
            os.close(tree)

    def bind_file(self, source: str, destination: str) -> None:
        """Show a file of the host at `destination`, read-only."""
        self.mount(Mount(destination, "bind", source, ("ro", "nosuid", "nodev")))

    def copy_file(self, source: int, destination: str) -> None:
        """Copy the file behind a descriptor to `destination`, readable by everybody."""
        parent, name = posixpath.split(destination)
        directory = self._directory(parent)
        try:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            target = os.open(name, flags, 0o444, dir_fd=directory)
        finally:
            os.close(directory)
        with os.fdopen(target, "wb") as file:
            offset = 0
            while copied := os.sendfile(file.fileno(), source, offset, _COPY_BYTES):
                offset += copied

    def pivot(self) -> None:
        """Make this directory `/` and put the host's files out of reach for good."""
        os.fchdir(self.fd)
        # pivot_root(2), "pivot_root(".", ".")": the old root is stacked on the new one.
        syscalls.pivot_root(".", ".")
        syscalls.umount2(".", syscalls.MNT_DETACH)
        os.chdir("/")
        os.close(self.fd)
        self.fd = -1

    def _mount_point(self, path: str, *, as_file: bool) -> int:
        if not as_file:
            return self._directory(posixpath.normpath(path))
        parent, name = posixpath.split(posixpath.normpath(path))
        directory = self._directory(parent)
        try:
            fd = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o644, dir_fd=directory)
            os.close(fd)
        except FileExistsError:
            pass
        finally:
            os.close(directory)
        return self.open(path, os.O_PATH)

    def _directory(self, path: str) -> int:
        try:
            return self.open(path, os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            if error.errno != errno.ENOENT or path in ("/", ""):
                raise InvalidArgument(f"directory {path!r} in the container: {error.strerror}") from None
        parent, name = posixpath.split(path)
        directory = self._directory(parent)
        try:
            os.mkdir(name, 0o755, dir_fd=directory)
        except FileExistsError:
            pass  # made by another process meanwhile, or a dangling link: the open below tells
        except OSError as error:
            raise PermissionDenied(f"directory {path!r} in the container: {error.strerror}") from None
        finally:
            os.close(directory)
        try:
            return self.open(path, os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            raise InvalidArgument(f"directory {path!r} in the container: {error.strerror}") from None


def make_mounts_private() -> None:
    """Keep the host from seeing what is mounted in the calling process' new namespace."""
    syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE, "")
