"""The container's root: paths resolved inside it, mounts put on it, and the change into it.

Everything is done through descriptors that openat2(2) resolved with RESOLVE_IN_ROOT: an
absolute symlink or `..` in the image stays inside, and a magic link is refused. Runs in the
init process, as root, in a mount namespace of its own.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import stat
from collections.abc import Iterable
from dataclasses import replace

from pelagos_core.errors import InvalidArgument, NotFound, PermissionDenied
from pelagos_core.linux import syscalls
from pelagos_core.linux.descriptor import Fd
from pelagos_core.native.process import NativeProcess
from pelagos_core.oci import Device, Mount
from pelagos_core.rootfs import device_nodes, mapped_overlay, mount_points, mounts
from pelagos_core.rootfs.file_tree import copy_tree
from pelagos_core.rootfs.mount_options import (
    ATTR_NODEV,
    ATTR_NOEXEC,
    ATTR_NOSUID,
    ATTR_RDONLY,
    Change,
    MountOptions,
    parse_options,
)
from pelagos_core.rootfs.path_walk import RESOLVE
from pelagos_core.rootfs.pivot import change_root

SHOWN = "root"
"""The part of an engine root's file system that is its root: see `enclose`."""

_WHOLE_TREE = syscalls.OPEN_TREE_CLONE | syscalls.AT_RECURSIVE | syscalls.AT_EMPTY_PATH
# What protects these by path later on must find them where the spec puts them.
_ORDINARY = ("proc", "sysfs")
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

    def assemble(self, layers: tuple[Mount, ...]) -> None:
        """Mount the layers of a rootfs in order, or make the directory itself a mount.

        pivot_root(2) requires the new root to be a mount point. The directory is opened here and
        not before: a descriptor from another mount namespace cannot be mounted on.
        """
        self.fd = self.open_directory()
        for layer in layers or (Mount("/", "bind", self.path, ("rbind",)),):
            if layer.type == "overlay" and layer.id_maps:
                mapped_overlay.attach(layer, self.path)
            else:
                self._attach(layer)
            # The descriptor of before still shows what the mount has covered.
            self.adopt(self.open_directory())

    def _attach(self, layer: Mount) -> None:
        with Fd(self.open(layer.destination, os.O_PATH)) as target:
            mounts.attach(layer, target)

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

    def mount(self, mount: Mount, source: int = -1) -> bool:
        """Put a mount of the spec on its destination, which is made if it is missing.

        source: of a bind mount, what `mounts.open_source` gave, which is closed; -1 to open it now.
        Returns whether a device is what is mounted. Raises OSError or PelagosError that names it.
        """
        if mount.type in _ORDINARY:
            self._check_ordinary(mount)
        if mounts.is_bind(mount):
            return self._place(source if source >= 0 else mounts.open_source(mount), mount.destination)
        with Fd(mount_points.directory(self.fd, mount.destination)) as target:
            mounts.attach(mount, target)
            self._finish(mount, parse_options(mount.options), target)
        return False

    def show(self, file: int, destination: str) -> None:
        """Bind a file that is open in this mount namespace on `destination`."""
        self._place(syscalls.open_tree(file, "", _WHOLE_TREE), destination)

    def _place(self, tree: int, destination: str) -> bool:
        target = -1
        try:
            mode = os.fstat(tree).st_mode
            make = mount_points.directory if stat.S_ISDIR(mode) else mount_points.file
            target = make(self.fd, destination)
            syscalls.move_mount(tree, target, destination)
            return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
        finally:
            os.close(tree)
            if target >= 0:
                os.close(target)

    def _finish(self, mount: Mount, options: MountOptions, covered: int) -> None:
        """What mount(2) leaves to be done, now that the file system is mounted."""
        copied = "tmpcopyup" in options.own
        if copied and mount.type != "tmpfs":
            raise InvalidArgument(f"mount on {mount.destination!r}: tmpcopyup is for a tmpfs")
        if not copied and not options.propagation and not options.deep:
            return
        with Fd(self.open(mount.destination, os.O_RDONLY | os.O_DIRECTORY)) as mounted:
            if copied:
                copy_tree(covered, mounted)
            mounts.change(mounted, replace(options, change=Change(propagation=options.change.propagation)))

    def cover(self, tree: int) -> None:
        """Put a detached mount on this root, in whose place it is from now on.

        tree: its descriptor, which belongs to this object then.
        """
        syscalls.move_mount(tree, self.fd, self.path)
        self.adopt(tree)

    def make_directory(self, path: str) -> None:
        """Make a directory and its missing parents, as the container would resolve them."""
        os.close(mount_points.directory(self.fd, path))

    def forbid_devices(self, mounted: Iterable[str]) -> None:
        """Let no device be opened but one that is mounted itself, at one of these paths.

        Not through a device node that the image brings, nor through one in a mounted directory.
        """
        syscalls.mount_setattr(self.fd, syscalls.AT_RECURSIVE, ATTR_NODEV, 0, 0)
        for path in mounted:
            with Fd(self.open(path, os.O_PATH)) as device:
                syscalls.mount_setattr(device, 0, 0, ATTR_NODEV, 0)

    def make_device(self, device: Device, *, mounted: bool) -> bool:
        """Make a device node, or mount the host's: also where none may be made (user_namespaces(7)).

        Returns whether it is mounted.
        """
        parent, name = posixpath.split(posixpath.normpath(device.path))
        with Fd(mount_points.directory(self.fd, parent)) as directory:
            number = os.makedev(device.major, device.minor) if device.type != "p" else 0
            mounted = mounted and device.type != "p"
            # Read-only: what is written to goes to the device, but its node is the host's own.
            if mounted or not device_nodes.make(directory, name, device, number):
                device_nodes.reserve(directory, name)
                source = device_nodes.on_host(device, number)
                return self.mount(Mount(device.path, "bind", source, ("bind", "ro", "nosuid", "noexec")))
            return False

    def make_link(self, path: str, target: str, *, replace: bool = False) -> None:
        """Make a symlink; one that is there, or a file, stays as it is unless it is to be replaced."""
        parent, name = posixpath.split(path)
        with Fd(mount_points.directory(self.fd, parent)) as directory:
            if replace:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=directory)
            with contextlib.suppress(FileExistsError):
                os.symlink(target, name, dir_fd=directory)

    def mask(self, path: str) -> None:
        """Hide what is at `path`: a directory becomes an empty one, anything else reads as empty.

        What is not there needs no mask.
        """
        existing = self._existing(path)
        if existing is None:
            return
        with existing as target:
            if stat.S_ISDIR(os.fstat(target).st_mode):
                mounts.attach(Mount(path, "tmpfs", "tmpfs", ("ro", "nosuid", "nodev", "noexec")), target)
            else:
                device_nodes.check_null()
                mounts.attach(Mount(path, "bind", device_nodes.NULL, ("bind", "ro")), target)

    def protect(self, path: str) -> None:
        """Make what is at `path`, with all mounts below, read-only, if it is there."""
        existing = self._existing(path)
        if existing is None:
            return
        with existing as target, Fd(syscalls.open_tree(target, "", _WHOLE_TREE)) as tree:
            syscalls.mount_setattr(tree, syscalls.AT_RECURSIVE, ATTR_RDONLY, 0, 0)
            syscalls.move_mount(tree, target, path)

    def has(self, path: str) -> bool:
        """Whether there is anything at a path."""
        found = self._existing(path)
        if found is not None:
            found.close()
        return found is not None

    def _existing(self, path: str) -> Fd | None:
        try:
            return Fd(self.open(path, os.O_PATH))
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise

    def make_readonly(self) -> None:
        """Make the root mount itself read-only; mounts on top of it stay as they are."""
        syscalls.mount_setattr(self.fd, 0, ATTR_RDONLY, 0, 0)

    def make_mount_readonly(self, path: str) -> None:
        """Make the mount at `path` read-only, once all that lies below it is there."""
        with Fd(self.open(path, os.O_PATH)) as target:
            syscalls.mount_setattr(target, 0, ATTR_RDONLY, 0, 0)

    def take_along(self) -> None:
        """Make the root the working directory, by which it is found after `follow`."""
        os.fchdir(self.fd)

    def follow(self) -> None:
        """Find the root again in a new mount namespace, which has copies of all mounts.

        user_namespaces(7): those copies are locked, so that none can become `/`. A copy of the
        copy can, and is put on top. It is not found by its path, which may be out of reach.
        """
        with Fd(os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as below:
            self.adopt(syscalls.open_tree(below, "", _WHOLE_TREE))
            syscalls.move_mount(self.fd, below, self.path)
        os.chdir("/")

    def enclose(self, path: str) -> int:
        """Put an empty root around this one, which is at `path` in it from now on.

        What is inside cannot be executed: it is a guest's, and a guest is no native program.
        Below that form of it is the root as it was, for native programs that join later.

        Returns a descriptor of the file system around it, which can be written to: the new root is its
        directory SHOWN, and what is in that can be moved out.
        """
        plain, sealed = self._clone(), self._clone()
        try:
            syscalls.mount_setattr(sealed, syscalls.AT_RECURSIVE, ATTR_NOEXEC, 0, 0)
            self.cover(syscalls.mount_detached("tmpfs", {"source": "engine", "mode": "755"}, _ENGINE_ROOT))
            surroundings = os.dup(self.fd)
            os.mkdir(SHOWN, 0o755, dir_fd=surroundings)
            self.cover(syscalls.open_tree(surroundings, SHOWN, syscalls.OPEN_TREE_CLONE))
            for tree in (plain, sealed):
                with Fd(mount_points.directory(self.fd, path)) as target:
                    syscalls.move_mount(tree, target, path)
            return surroundings
        finally:
            os.close(plain)
            os.close(sealed)

    def _clone(self) -> int:
        return syscalls.open_tree(self.fd, "", _WHOLE_TREE)

    def pivot(self) -> None:
        """Make this directory `/` and put the host's files out of reach for good."""
        change_root(self.fd)
        os.close(self.fd)
        self.fd = -1

    def _check_ordinary(self, mount: Mount) -> None:
        """Refuse a destination that is reached by a symlink of the image."""
        try:
            os.close(syscalls.openat2(self.fd, mount.destination, os.O_PATH, RESOLVE | syscalls.RESOLVE_NO_SYMLINKS))
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise InvalidArgument(
                    f"mount of {mount.type!r} on {mount.destination!r}: the image has a symbolic link there"
                ) from None


def _reason(error: OSError) -> str:
    return (error.strerror or "").lower()
