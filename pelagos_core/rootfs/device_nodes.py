"""Device nodes: the ones that every container has, and the instructions that make one.

Source: OCI runtime spec "Default Devices" and "Dev symbolic links", mknod(2), null(4).
"""

from __future__ import annotations

import os
import posixpath

from pelagos_core.errors import InvalidArgument, PelagosError, PermissionDenied
from pelagos_core.native.instruction import Instruction, instruction
from pelagos_core.native.process import Failure
from pelagos_core.oci import Device
from pelagos_core.oci.devices import MODES
from pelagos_core.rootfs import mount_points

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


def making(device: Device, *, mounted: bool) -> Instruction:
    """Make a device node, or mount the host's where none may be made.

    mounted: mount the host's own, or nothing if it has none. A FIFO is made.
    """
    directory, name = posixpath.split(posixpath.normpath(device.path))
    number = os.makedev(device.major, device.minor) if device.type != "p" else 0
    of = device.mode | MODES[device.type], number, device.uid, device.gid
    return instruction("make_device", device.path, directory, name, *of, int(mounted))


def failure(device: Device, failed: Failure) -> PelagosError | None:
    """The error for a device that could not be made; None if the step's own words will do."""
    what = f"device {device.path!r}"
    if failed.stage == "kind":
        return InvalidArgument(f"{what}: the image has something else there")
    if failed.stage == "source":
        return PermissionDenied(f"{what}: may not be made here, and the host has no such node to mount")
    if failed.stage == "limit":
        return InvalidArgument(f"{what}: too many devices are mounted")
    return mount_points.failure(failed)


def link(path: str, target: str, *, replaces: bool = False) -> Instruction:
    """Make a symbolic link; one that is there, or a file, stays as it is unless it is to be replaced."""
    directory, name = posixpath.split(path)
    return instruction("make_link", directory, name, target, int(replaces))
