"""The steps that make a container's root file system."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import ClassVar

from pelagos_core import reasons
from pelagos_core.cgroups.group import Cgroup
from pelagos_core.config.policy import Directory
from pelagos_core.errors import PelagosError
from pelagos_core.isolation.operation import Operation
from pelagos_core.isolation.state import DEVICE_MOUNTS, ROOT, State
from pelagos_core.oci import Device, Mount
from pelagos_core.rootfs import cgroup_mounts, device_nodes, kernel_views, mounts, narrowing, relative_links
from pelagos_core.rootfs.propagation import make_parent_private, set_propagation

_LOCAL = frozenset("bind tmpfs overlay proc sysfs mqueue devpts cgroup cgroup2 ext4 xfs btrfs".split())


class RootOperation(Operation):
    """A step on the root file system."""

    __slots__ = ()
    reason: ClassVar[str] = reasons.MOUNT

    def reads(self) -> tuple[str, ...]:
        return (ROOT,)


@dataclass(frozen=True, slots=True)
class AssembleRoot(RootOperation):
    """Mount the root file system's layers in the private mount namespace.

    shared: the host's mounts are shared with it, so that ours must be kept from the host.
    """

    layers: tuple[Mount, ...]
    shared: bool = False

    def reads(self) -> tuple[str, ...]:
        return ()

    def writes(self) -> tuple[str, ...]:
        return (ROOT,)

    def describe(self) -> str:
        return f"root file system of {len(self.layers)} mounts"

    def details(self) -> str:
        layers = [f"{each.type} {each.source} on {each.destination}: {_details(each)}" for each in self.layers]
        return "; ".join([*layers, *(["kept from the host"] if self.shared else [])])

    def execute(self, state: State) -> None:
        if self.shared:
            make_parent_private(state.root.path)
        state.root.assemble(self.layers)


@dataclass(frozen=True, slots=True)
class OpenSource(Operation):
    """Open what will be bound, while the host's files can be read, and ids be mapped."""

    reason: ClassVar[str] = reasons.MOUNT
    mount: Mount
    slot: str

    def writes(self) -> tuple[str, ...]:
        return (self.slot,)

    def describe(self) -> str:
        return f"open {self.mount.source}"

    def details(self) -> str:
        return _details(self.mount)

    def execute(self, state: State) -> None:
        state.descriptors[self.slot] = mounts.open_source(self.mount)


@dataclass(frozen=True, slots=True)
class TakeRootAlong(RootOperation):
    """Make the root the working directory, by which it is found in another mount namespace."""

    def describe(self) -> str:
        return "take the root along as the working directory"

    def execute(self, state: State) -> None:
        state.root.take_along()


@dataclass(frozen=True, slots=True)
class FollowRoot(RootOperation):
    """Find the root again in the mount namespace of a user namespace."""

    def describe(self) -> str:
        return "find the root file system again"

    def execute(self, state: State) -> None:
        state.root.follow()


@dataclass(frozen=True, slots=True)
class MountVolume(RootOperation):
    """Put one mount of the spec in place.

    source: the slot of what OpenSource has opened; empty to open it now.
    """

    mount: Mount
    source: str = ""

    def reads(self) -> tuple[str, ...]:
        return (ROOT, self.source) if self.source else (ROOT,)

    def writes(self) -> tuple[str, ...]:
        return (DEVICE_MOUNTS,) if mounts.is_bind(self.mount) else ()

    def describe(self) -> str:
        return f"mount {self.mount.source or self.mount.type} on {self.mount.destination}"

    def details(self) -> str:
        return _details(self.mount)

    def execute(self, state: State) -> None:
        if state.root.mount(self.mount, state.take(self.source) if self.source else -1):
            state.device_mounts.append(self.mount.destination)


@dataclass(frozen=True, slots=True)
class MountCgroups(RootOperation):
    """Show the container's own control groups.

    namespaced: whether it has a cgroup namespace.
    """

    mount: Mount
    cgroup: Cgroup
    namespaced: bool

    def describe(self) -> str:
        return f"mount cgroups on {self.mount.destination}"

    def details(self) -> str:
        return f"{_details(self.mount)}; {'of the namespace' if self.namespaced else ', '.join(self.cgroup.paths)}"

    def execute(self, state: State) -> None:
        cgroup_mounts.show(state.root, self.mount, self.cgroup, namespaced=self.namespaced)


@dataclass(frozen=True, slots=True)
class MakeDevices(RootOperation):
    """Make device nodes.

    mounted: show the host's own nodes instead, where no node of the root opens a device; those
        that it has not are left out.
    """

    devices: tuple[Device, ...]
    mounted: bool = False

    def writes(self) -> tuple[str, ...]:
        return (DEVICE_MOUNTS,)

    def describe(self) -> str:
        return f"devices {', '.join(device.path for device in self.devices)}"

    def details(self) -> str:
        return "the host's nodes" if self.mounted else ""

    def execute(self, state: State) -> None:
        for device in self.devices:
            present = not self.mounted or device_nodes.can_be_mounted(device)
            if present and state.root.make_device(device, mounted=self.mounted):
                state.device_mounts.append(device.path)


@dataclass(frozen=True, slots=True)
class LinkDevices(RootOperation):
    """Make the links that programs expect in /dev."""

    def describe(self) -> str:
        return "links in /dev"

    def execute(self, state: State) -> None:
        for path, target in device_nodes.STREAM_LINKS:
            state.root.make_link(path, target)
        state.root.make_link(device_nodes.MULTIPLEXER, "pts/ptmx", replace=True)


@dataclass(frozen=True, slots=True)
class LinkStreams(RootOperation):
    """Make a guest's links of the standard streams, which lead nowhere: it has no /proc.

    So what is written to `/dev/stdout` is refused, and not lost in a file of this name.
    """

    def describe(self) -> str:
        return "links of the standard streams"

    def execute(self, state: State) -> None:
        # Where they cannot be made, a guest can make nothing in their place.
        with contextlib.suppress(OSError, PelagosError):
            for path, target in device_nodes.STREAM_LINKS if state.root.has("/dev") else ():
                state.root.make_link(path, target)


@dataclass(frozen=True, slots=True)
class ForbidDevices(RootOperation):
    """Let no device node of the image or of a volume open a device.

    A Wasm guest has no other guard against the host's disks.
    """

    def reads(self) -> tuple[str, ...]:
        return (ROOT, DEVICE_MOUNTS)

    def describe(self) -> str:
        return "no devices but mounted ones"

    def execute(self, state: State) -> None:
        state.root.forbid_devices(state.device_mounts)


@dataclass(frozen=True, slots=True)
class ShieldEngine(RootOperation):
    """Take away what would show a Wasm guest the kernel, and with it its own engine.

    volumes: the mounts that the spec asks for.
    """

    volumes: tuple[Mount, ...]

    def describe(self) -> str:
        return "keep the guest from its engine"

    def details(self) -> str:
        asked = ", ".join(volume.destination for volume in self.volumes)
        return f"refused if the kernel is seen by it: {asked}" if asked else ""

    def execute(self, state: State) -> None:
        kernel_views.remove(state.root, self.volumes)


@dataclass(frozen=True, slots=True)
class ShowRelativeLinks(RootOperation):
    """Have a Wasm guest reach mounts by the absolute links of the image on the way to them."""

    paths: tuple[str, ...]

    def describe(self) -> str:
        return f"relative links to {', '.join(self.paths)}"

    def execute(self, state: State) -> None:
        relative_links.show(state.root, self.paths)


@dataclass(frozen=True, slots=True)
class NarrowRoot(RootOperation):
    """Leave a Wasm guest some directories of its container, and nothing else."""

    directories: tuple[Directory, ...]

    def describe(self) -> str:
        return f"of the files only {', '.join(each.path for each in self.directories) or 'none'}"

    def details(self) -> str:
        readonly = [each.path for each in self.directories if each.readonly]
        return f"read-only: {', '.join(readonly)}" if readonly else ""

    def execute(self, state: State) -> None:
        narrowing.restrict(state.root, self.directories)


@dataclass(frozen=True, slots=True)
class ProtectPaths(RootOperation):
    """Make paths read-only."""

    paths: tuple[str, ...]

    def describe(self) -> str:
        return f"read-only paths: {', '.join(self.paths)}"

    def execute(self, state: State) -> None:
        for path in self.paths:
            state.root.protect(path)


@dataclass(frozen=True, slots=True)
class MaskPaths(RootOperation):
    """Hide what is at some paths."""

    paths: tuple[str, ...]

    def describe(self) -> str:
        return f"masked paths: {', '.join(self.paths)}"

    def execute(self, state: State) -> None:
        for path in self.paths:
            state.root.mask(path)


@dataclass(frozen=True, slots=True)
class MakeWorkingDirectory(RootOperation):
    """Make the process' working directory if the image lacks it, as runc does."""

    path: str

    def describe(self) -> str:
        return f"working directory {self.path}"

    def execute(self, state: State) -> None:
        state.root.make_directory(self.path)


@dataclass(frozen=True, slots=True)
class MakeMountReadonly(RootOperation):
    """Make one mount read-only, once all mount points in it are there."""

    path: str

    def describe(self) -> str:
        return f"read-only {self.path}"

    def execute(self, state: State) -> None:
        state.root.make_mount_readonly(self.path)


@dataclass(frozen=True, slots=True)
class MakeRootReadonly(RootOperation):
    """Make the root read-only, once all mount points are there."""

    def describe(self) -> str:
        return "read-only root"

    def execute(self, state: State) -> None:
        state.root.make_readonly()


@dataclass(frozen=True, slots=True)
class ChangeRoot(RootOperation):
    """Make the assembled directory `/`; the host's files are gone after this."""

    reason: ClassVar[str] = reasons.ISOLATION

    def describe(self) -> str:
        return "change the root"

    def execute(self, state: State) -> None:
        state.root.pivot()


@dataclass(frozen=True, slots=True)
class SetRootPropagation(Operation):
    """Set the propagation of the container's root, once it is `/`: an MS_ flag."""

    reason: ClassVar[str] = reasons.MOUNT
    flag: int
    recursive: bool

    def describe(self) -> str:
        return f"propagation of the root {self.flag:#x}"

    def details(self) -> str:
        return "with all below" if self.recursive else ""

    def execute(self, state: State) -> None:
        set_propagation(self.flag, recursive=self.recursive)


def _details(mount: Mount) -> str:
    """Options and id maps; of a network's file system no values, since one may be a password."""
    shown = [each if mount.type in _LOCAL else each.partition("=")[0] for each in mount.options]
    return ", ".join((*shown, *mount.id_maps.lines()))
