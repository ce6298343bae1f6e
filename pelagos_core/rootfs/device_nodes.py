"""Device nodes: the ones that every container has, and how one is made.

Source: OCI runtime spec "Default Devices" and "Dev symbolic links", mknod(2), null(4).
"""

from __future__ import annotations

import contextlib
import os
import stat

from pelagos_core.errors import InvalidArgument, PermissionDenied
from pelagos_core.oci import Device
from pelagos_core.oci.devices import MODES

NULL = "/dev/null"

# They hold nothing and lead nowhere but to a process' own terminal. 1:1 to 1:4 are the machine's memory and ports.
DEFAULT = (
    Device("/dev/null", "c", 1, 3),
    Device("/dev/zero", "c", 1, 5),
    Device("/dev/full", "c", 1, 7),
    Device("/dev/random", "c", 1, 8),
    Device("/dev/urandom", "c", 1, 9),
    Device("/dev/tty", "c", 5, 0),
)
MULTIPLEXER = "/dev/ptmx"  # always a link to that of the container's own devpts
STREAM_LINKS = (
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
)


def is_harmless(device: Device) -> bool:
    """Whether a Wasm guest may have it: its engine's process is on the host, and no device node is."""
    known = {(each.type, each.major, each.minor) for each in DEFAULT}
    return device.type == "p" or (device.type, device.major, device.minor) in known


def reserve(directory: int, name: str) -> None:
    """Make the place on which a node of the host is mounted; what is there already will do.

    Where the mount is not seen, as by the guest beside a native program, it is there all the same.
    A socket is not taken for a file: open(2) fails, and nothing can be written to it.
    """
    with contextlib.suppress(FileExistsError):
        os.mknod(name, stat.S_IFSOCK, dir_fd=directory)


def make(directory: int, name: str, device: Device, number: int) -> bool:
    """Make a node in an open directory; one that is there and is the same device is left.

    The caller's umask is 0. Returns False if this process may make no device.
    Raises InvalidArgument if the name is taken by something else.
    """
    try:
        os.mknod(name, device.mode | MODES[device.type], number, dir_fd=directory)
    except FileExistsError:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if not _is(found, device, number):
            raise InvalidArgument(f"device {device.path!r}: the image has something else there") from None
        return True
    except PermissionError:
        return False
    os.chown(name, device.uid, device.gid, dir_fd=directory, follow_symlinks=False)
    return True


def on_host(device: Device, number: int) -> str:
    """The host's node of the device. Raises PermissionDenied if it has none at this path."""
    if _is_there(device, number):
        return device.path
    raise PermissionDenied(f"device {device.path!r}: may not be made here, and the host has no such node to mount")


def can_be_mounted(device: Device) -> bool:
    """Whether the host has it at this path; a FIFO is made. It may have lost one since a spec was written."""
    return device.type == "p" or _is_there(device, os.makedev(device.major, device.minor))


def check_null() -> None:
    """Make sure that the host's /dev/null is what it should be, before a mask is made of it."""
    found = os.lstat(NULL)
    if not (stat.S_ISCHR(found.st_mode) and found.st_rdev == os.makedev(1, 3)):
        raise InvalidArgument(f"{NULL} of the host is not the null device")


def _is_there(device: Device, number: int) -> bool:
    try:
        return _is(os.lstat(device.path), device, number)
    except OSError:
        return False


def _is(found: os.stat_result, device: Device, number: int) -> bool:
    return stat.S_IFMT(found.st_mode) == MODES[device.type] and (device.type == "p" or found.st_rdev == number)
