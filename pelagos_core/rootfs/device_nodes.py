"""Device nodes: the default ones of every container, and the instructions to create one.

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

# Devices without data, and the process' own terminal. 1:1 to 1:4 are the host's memory and ports.
DEFAULT = (
    Device("/dev/null", "c", 1, 3),
    Device("/dev/zero", "c", 1, 5),
    Device("/dev/full", "c", 1, 7),
    Device("/dev/random", "c", 1, 8),
    Device("/dev/urandom", "c", 1, 9),
    Device("/dev/tty", "c", 5, 0),
)
MULTIPLEXER = "/dev/ptmx"  # a link to the multiplexer of the container's devpts
STREAM_LINKS = (
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
)


def is_harmless(device: Device) -> bool:
    """Whether a Wasm guest may have the device: one that gives no access to the host or to the engine's process."""
    known = {(each.type, each.major, each.minor) for each in DEFAULT}
    return device.type == "p" or (device.type, device.major, device.minor) in known


def making(device: Device, *, mounted: bool) -> Instruction:
    """Create a device node, or mount the host's if mknod(2) is not permitted.

    mounted: mount the host's node, or none if the host lacks it. A FIFO is created in both cases.
    """
    directory, name = posixpath.split(posixpath.normpath(device.path))
    number = os.makedev(device.major, device.minor) if device.type != "p" else 0
    of = device.mode | MODES[device.type], number, device.uid, device.gid
    return instruction("make_device", device.path, directory, name, *of, int(mounted))


def failure(device: Device, failed: Failure) -> PelagosError | None:
    """The error for a device that could not be created; None if the step's own text is enough."""
    what = f"device {device.path!r}"
    if failed.stage == "kind":
        return InvalidArgument(f"{what}: the image has another file there")
    if failed.stage == "source":
        return PermissionDenied(f"{what}: cannot be created here, and the host has no such node to mount")
    if failed.stage == "limit":
        return InvalidArgument(f"{what}: too many devices are mounted")
    return mount_points.failure(failed)


def link(path: str, target: str, *, replaces: bool = False) -> Instruction:
    """Create a symbolic link. replaces: replace an existing file or link; else it stays."""
    directory, name = posixpath.split(path)
    return instruction("make_link", directory, name, target, int(replaces))
