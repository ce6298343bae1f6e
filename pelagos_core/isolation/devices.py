"""The steps that create a container's devices, and those that disable all other device nodes."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from pelagos_core.errors import PelagosError
from pelagos_core.isolation.filesystem import RootOperation
from pelagos_core.isolation.operation import Operation
from pelagos_core.isolation.state import DEVICE_MOUNTS, ROOT
from pelagos_core.native.instruction import Instruction, instruction
from pelagos_core.native.process import Failure
from pelagos_core.oci import Device
from pelagos_core.rootfs import device_nodes


@dataclass(frozen=True, slots=True)
class MakeDevices(RootOperation):
    """Create device nodes.

    mounted: bind the host's nodes instead, for a root whose mounts are nodev. A node that the host does not have
        is skipped.
    """

    devices: tuple[Device, ...]
    mounted: bool = False

    def writes(self) -> tuple[str, ...]:
        return (DEVICE_MOUNTS,)

    def describe(self) -> str:
        return f"devices {', '.join(device.path for device in self.devices)}"

    def details(self) -> str:
        return "the host's nodes" if self.mounted else ""

    def instructions(self) -> tuple[Instruction, ...]:
        return tuple(device_nodes.making(device, mounted=self.mounted) for device in self.devices)

    def failure(self, failed: Failure) -> PelagosError:
        return device_nodes.failure(self.devices[failed.step], failed) or Operation.failure(self, failed)


@dataclass(frozen=True, slots=True)
class LinkDevices(RootOperation):
    """Create the symbolic links that programs expect in /dev."""

    def describe(self) -> str:
        return "links in /dev"

    def instructions(self) -> tuple[Instruction, ...]:
        links = (device_nodes.link(path, target) for path, target in device_nodes.STREAM_LINKS)
        return (*links, device_nodes.link(device_nodes.MULTIPLEXER, "pts/ptmx", replaces=True))


@dataclass(frozen=True, slots=True)
class LinkStreams(RootOperation):
    """Create /dev/stdin, /dev/stdout and /dev/stderr for a guest. They are dangling links, since it has no /proc.

    With them a write to `/dev/stdout` fails; without them it would create a file of this name.
    """

    def describe(self) -> str:
        return "links of the standard streams"

    def instructions(self) -> tuple[Instruction, ...]:
        # Errors are ignored: if the links cannot be created, a guest cannot create files there either.
        links = ((*posixpath.split(path), target) for path, target in device_nodes.STREAM_LINKS)
        return tuple(instruction("try_link", *words) for words in links)


@dataclass(frozen=True, slots=True)
class ForbidDevices(RootOperation):
    """Make all mounts nodev, so that no device node of the image or of a volume opens a device.

    For a Wasm guest this is the only protection of the host's disks.
    """

    def reads(self) -> tuple[str, ...]:
        return (ROOT, DEVICE_MOUNTS)

    def describe(self) -> str:
        return "no devices but mounted ones"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("forbid_devices"),)
