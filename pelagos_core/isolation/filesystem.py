"""The steps that make a container's root file system."""

from __future__ import annotations

import contextlib
import os
import posixpath
from dataclasses import dataclass, replace
from typing import ClassVar

from pelagos_core import reasons
from pelagos_core.cgroups.group import Cgroup
from pelagos_core.config.policy import Directory
from pelagos_core.errors import PelagosError
from pelagos_core.isolation import engine_files
from pelagos_core.isolation.operation import Operation
from pelagos_core.oci import Device, Mount
from pelagos_core.plugin.entrypoint import CODE, Entrypoint
from pelagos_core.plugin.program import GUEST_ROOT, Program
from pelagos_core.rootfs import cgroup_mounts, device_nodes, kernel_views, narrowing, relative_links
from pelagos_core.rootfs.propagation import make_parent_private, set_propagation
from pelagos_core.rootfs.root import Root


class RootOperation(Operation):
    """A step on the root file system."""

    __slots__ = ()
    reason: ClassVar[str] = reasons.MOUNT


@dataclass(frozen=True, slots=True)
class AssembleRoot(RootOperation):
    """Mount the root file system's layers in the private mount namespace.

    shared: the host's mounts are shared with it, so that ours must be kept from the host.
    """

    layers: tuple[Mount, ...]
    shared: bool = False

    def describe(self) -> str:
        return f"root file system of {len(self.layers)} mounts"

    def execute(self, root: Root) -> None:
        if self.shared:
            make_parent_private(root.path)
        root.assemble(self.layers)


@dataclass(frozen=True, slots=True)
class OpenSources(RootOperation):
    """Open what will be bound, while the host's files can be read, and ids be mapped."""

    mounts: tuple[Mount, ...]

    def describe(self) -> str:
        return f"open the sources of {len(self.mounts)} bind mounts"

    def execute(self, root: Root) -> None:
        root.open_sources(self.mounts)
        root.take_along()


@dataclass(frozen=True, slots=True)
class FollowRoot(RootOperation):
    """Find the root again in the mount namespace of a user namespace."""

    def describe(self) -> str:
        return "find the root file system again"

    def execute(self, root: Root) -> None:
        root.follow()


@dataclass(frozen=True, slots=True)
class MountVolume(RootOperation):
    """Put one mount of the spec in place."""

    mount: Mount

    def describe(self) -> str:
        return f"mount {self.mount.source or self.mount.type} on {self.mount.destination}"

    def execute(self, root: Root) -> None:
        root.mount(self.mount)


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

    def execute(self, root: Root) -> None:
        cgroup_mounts.show(root, self.mount, self.cgroup, namespaced=self.namespaced)


@dataclass(frozen=True, slots=True)
class MakeDevices(RootOperation):
    """Make device nodes.

    mounted: show the host's own nodes instead, where no node of the root opens a device; those
        that it has not are left out.
    """

    devices: tuple[Device, ...]
    mounted: bool = False

    def describe(self) -> str:
        return f"devices {', '.join(device.path for device in self.devices)}"

    def execute(self, root: Root) -> None:
        for device in self.devices:
            if not self.mounted or device_nodes.can_be_mounted(device):
                root.make_device(device, mounted=self.mounted)


@dataclass(frozen=True, slots=True)
class LinkDevices(RootOperation):
    """Make the links that programs expect in /dev."""

    def describe(self) -> str:
        return "links in /dev"

    def execute(self, root: Root) -> None:
        for path, target in device_nodes.STREAM_LINKS:
            root.make_link(path, target)
        root.make_link(device_nodes.MULTIPLEXER, "pts/ptmx", replace=True)


@dataclass(frozen=True, slots=True)
class LinkStreams(RootOperation):
    """Make a guest's links of the standard streams, which lead nowhere: it has no /proc.

    So what is written to `/dev/stdout` is refused, and not lost in a file of this name.
    """

    def describe(self) -> str:
        return "links of the standard streams"

    def execute(self, root: Root) -> None:
        # Where they cannot be made, a guest can make nothing in their place.
        with contextlib.suppress(OSError, PelagosError):
            for path, target in device_nodes.STREAM_LINKS if root.has("/dev") else ():
                root.make_link(path, target)


@dataclass(frozen=True, slots=True)
class ForbidDevices(RootOperation):
    """Let no device node of the image or of a volume open a device.

    A Wasm guest has no other guard against the host's disks.
    """

    def describe(self) -> str:
        return "no devices but mounted ones"

    def execute(self, root: Root) -> None:
        root.forbid_devices()


@dataclass(frozen=True, slots=True)
class ShieldEngine(RootOperation):
    """Take away what would show a Wasm guest the kernel, and with it its own engine.

    volumes: the mounts that the spec asks for.
    """

    volumes: tuple[Mount, ...]

    def describe(self) -> str:
        return "keep the guest from its engine"

    def execute(self, root: Root) -> None:
        kernel_views.remove(root, self.volumes)


@dataclass(frozen=True, slots=True)
class ShowRelativeLinks(RootOperation):
    """Have a Wasm guest reach mounts by the absolute links of the image on the way to them."""

    paths: tuple[str, ...]

    def describe(self) -> str:
        return f"relative links to {len(self.paths)} mounts"

    def execute(self, root: Root) -> None:
        relative_links.show(root, self.paths)


@dataclass(frozen=True, slots=True)
class NarrowRoot(RootOperation):
    """Leave a Wasm guest some directories of its container, and nothing else."""

    directories: tuple[Directory, ...]

    def describe(self) -> str:
        return f"of the files only {', '.join(each.path for each in self.directories) or 'none'}"

    def execute(self, root: Root) -> None:
        narrowing.restrict(root, self.directories)


@dataclass(frozen=True, slots=True)
class ProtectPaths(RootOperation):
    """Make paths read-only."""

    paths: tuple[str, ...]

    def describe(self) -> str:
        return f"{len(self.paths)} read-only paths"

    def execute(self, root: Root) -> None:
        for path in self.paths:
            root.protect(path)


@dataclass(frozen=True, slots=True)
class MaskPaths(RootOperation):
    """Hide what is at some paths."""

    paths: tuple[str, ...]

    def describe(self) -> str:
        return f"{len(self.paths)} masked paths"

    def execute(self, root: Root) -> None:
        for path in self.paths:
            root.mask(path)


@dataclass(frozen=True, slots=True)
class MakeWorkingDirectory(RootOperation):
    """Make the process' working directory if the image lacks it, as runc does."""

    path: str

    def describe(self) -> str:
        return f"working directory {self.path}"

    def execute(self, root: Root) -> None:
        root.make_directory(self.path)


@dataclass(frozen=True, slots=True)
class MakeMountReadonly(RootOperation):
    """Make one mount read-only, once all mount points in it are there."""

    path: str

    def describe(self) -> str:
        return f"read-only {self.path}"

    def execute(self, root: Root) -> None:
        root.make_mount_readonly(self.path)


@dataclass(frozen=True, slots=True)
class MakeRootReadonly(RootOperation):
    """Make the root read-only, once all mount points are there."""

    def describe(self) -> str:
        return "read-only root"

    def execute(self, root: Root) -> None:
        root.make_readonly()


@dataclass(frozen=True, slots=True)
class SetRootPropagation(RootOperation):
    """Set the propagation of the container's root, once it is `/`: an MS_ flag."""

    flag: int
    recursive: bool

    def describe(self) -> str:
        return f"propagation of the root {self.flag:#x}"

    def execute(self, root: Root) -> None:
        set_propagation(self.flag, recursive=self.recursive)


@dataclass(frozen=True, slots=True)
class EnterEngineRoot(RootOperation):
    """Put the container's root below a root in which an engine's program can run.

    uid: of the process, as the file system of that root knows it.
    code: a directory with what has been compiled of the entry point, which is closed; None if nothing has.
    """

    program: Program
    entrypoint: Entrypoint
    uid: int
    code: int | None = None

    @property
    def entered(self) -> Entrypoint:
        """The entry point as it is for the program: at its path is the code, if there is any."""
        path = self.file_path
        return replace(self.entrypoint, file_path=path, code="" if self.code is None else path)

    @property
    def file_path(self) -> str:
        """Where the program finds its copy of the entry point: where a guest would see it.

        A program names its guest by the path that it is given.
        """
        path = posixpath.normpath(posixpath.join("/", self.entrypoint.path))
        clash = path == "/" or any(
            f"{path}/".startswith(f"{each}/") or each.startswith(f"{path}/")
            for each in (GUEST_ROOT, *self.program.targets)
        )
        return "/module.wasm" if clash else path

    def describe(self) -> str:
        return f"engine root of {self.program.source}"

    def execute(self, root: Root) -> None:
        root.enclose(GUEST_ROOT)
        engine_files.show(root, self.program)
        if self.code is None:
            engine_files.copy_module(root, self.entrypoint.file, self.file_path, self.uid)
        else:
            code = os.open(CODE, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.code)
            engine_files.copy_module(root, code, self.file_path, self.uid)
            os.close(code)
            os.close(self.code)
        root.make_readonly()
