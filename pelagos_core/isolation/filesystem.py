"""The steps that assemble a container's root file system."""

from __future__ import annotations

import errno
import posixpath
from dataclasses import dataclass
from typing import ClassVar

from pelagos_core import reasons
from pelagos_core.cgroups.group import Cgroup
from pelagos_core.config.policy import Directory
from pelagos_core.errors import InvalidArgument, PelagosError, PermissionDenied
from pelagos_core.isolation.operation import Operation
from pelagos_core.isolation.state import DEVICE_MOUNTS, ROOT
from pelagos_core.linux.syscalls import MS_REC, MS_SHARED, MS_SLAVE
from pelagos_core.native.instruction import Instruction, Slot, instruction
from pelagos_core.native.process import Failure
from pelagos_core.oci import Mount
from pelagos_core.rootfs import (
    cgroup_mounts,
    kernel_views,
    mapped_overlay,
    mount_points,
    mounts,
    narrowing,
)
from pelagos_core.rootfs.mount_options import ATTR_RDONLY, parse_options
from pelagos_core.rootfs.mounts import Mounting

_FROM_HOST = MS_SHARED | MS_SLAVE
_LOCAL = frozenset("bind tmpfs overlay proc sysfs mqueue devpts cgroup cgroup2 ext4 xfs btrfs".split())


class RootOperation(Operation):
    """A step on the root file system."""

    __slots__ = ()
    reason: ClassVar[str] = reasons.MOUNT

    def reads(self) -> tuple[str, ...]:
        return (ROOT,)

    def failure(self, failed: Failure) -> PelagosError:
        return mount_points.failure(failed) or Operation.failure(self, failed)


@dataclass(frozen=True, slots=True)
class NameRoot(Operation):
    """Set the host's directory that becomes the root. The path is from the bundle, not from the image."""

    is_common: ClassVar[bool] = False
    reason: ClassVar[str] = reasons.MOUNT
    path: str

    def describe(self) -> str:
        return f"root directory {self.path}"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("name_root", self.path),)


@dataclass(frozen=True, slots=True)
class AssembleRoot(RootOperation):
    """Mount the root file system's layers in the private mount namespace.

    shared: the namespace's mounts are peers of the host's, so the root is made private first.
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

    def _groups(self) -> list[Mounting]:
        root = Mount("/", "bind", "")
        opened = instruction("open_root")
        begin = (instruction("make_parent_private"), opened) if self.shared else (opened,)
        groups = [Mounting(root, begin)]
        for each in self.layers:
            mapped = each.type == "overlay" and each.id_maps
            groups += mapped_overlay.layer(each) if mapped else (mounts.layer(each), Mounting(each, (opened,)))
        if not self.layers:
            # pivot_root(2) requires the new root to be a mount point.
            copy = instruction("copy_tree", mounts.TREE, "/", 1)
            groups.append(Mounting(root, (copy, instruction("cover_root", mounts.TREE))))
        return groups

    def instructions(self) -> tuple[Instruction, ...]:
        return tuple(each for group in self._groups() for each in group.instructions)

    def failure(self, failed: Failure) -> PelagosError:
        found = mount_points.root_failure(failed) or mounts.failure(self._groups(), failed)
        return found or Operation.failure(self, failed)


@dataclass(frozen=True, slots=True)
class OpenSource(Operation):
    """Open the source of a bind, while the host's files are accessible and ids can be mapped."""

    reason: ClassVar[str] = reasons.MOUNT
    mount: Mount
    slot: str

    def writes(self) -> tuple[str, ...]:
        return (self.slot,)

    def describe(self) -> str:
        return f"open {self.mount.source}"

    def details(self) -> str:
        return _details(self.mount)

    def instructions(self) -> tuple[Instruction, ...]:
        return mounts.opening(self.mount, self.slot)

    def failure(self, failed: Failure) -> PelagosError:
        return mounts.failure([Mounting(self.mount, self.instructions())], failed) or Operation.failure(self, failed)


@dataclass(frozen=True, slots=True)
class ChdirToRoot(RootOperation):
    """Make the root the working directory. RebindRoot opens it by that in another mount namespace."""

    def describe(self) -> str:
        return "make the root the working directory"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("chdir_to_root"),)


@dataclass(frozen=True, slots=True)
class RebindRoot(RootOperation):
    """Open the root again in the mount namespace of a user namespace, as a new bind mount."""

    def describe(self) -> str:
        return "open the root in the new mount namespace"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("rebind_root"),)


@dataclass(frozen=True, slots=True)
class MountVolume(RootOperation):
    """Mount one mount of the spec.

    source: the slot that OpenSource has filled; empty to open the source now.
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

    def instructions(self) -> tuple[Instruction, ...]:
        return mounts.mounting(self.mount, self.source).instructions

    def failure(self, failed: Failure) -> PelagosError:
        return mounts.failure([mounts.mounting(self.mount, self.source)], failed) or Operation.failure(self, failed)


@dataclass(frozen=True, slots=True)
class MountCgroups(RootOperation):
    """Mount the container's control groups.

    namespaced: whether it has a cgroup namespace.
    """

    mount: Mount
    cgroup: Cgroup
    namespaced: bool

    def describe(self) -> str:
        return f"mount cgroups on {self.mount.destination}"

    def details(self) -> str:
        return f"{_details(self.mount)}; {'of the namespace' if self.namespaced else ', '.join(self.cgroup.paths)}"

    def _mountings(self) -> tuple[Mounting, ...]:
        return cgroup_mounts.mountings(self.mount, self.cgroup, namespaced=self.namespaced)

    def instructions(self) -> tuple[Instruction, ...]:
        return tuple(each for mounting in self._mountings() for each in mounting.instructions)

    def failure(self, failed: Failure) -> PelagosError:
        return mounts.failure(self._mountings(), failed) or Operation.failure(self, failed)


@dataclass(frozen=True, slots=True)
class ShieldEngine(RootOperation):
    """Remove mounts by which a Wasm guest could access the kernel, and through it its own engine.

    volumes: the mounts of the spec.
    """

    volumes: tuple[Mount, ...]

    def describe(self) -> str:
        return "remove views of the kernel"

    def details(self) -> str:
        asked = ", ".join(volume.destination for volume in self.volumes)
        return f"refused if a view itself: {asked}" if asked else ""

    def instructions(self) -> tuple[Instruction, ...]:
        if self._shared():
            return (instruction("refuse", errno.EPERM),)
        return (kernel_views.removing(tuple(volume.destination for volume in self.volumes)),)

    def failure(self, failed: Failure) -> PelagosError:
        shared = self._shared()
        if shared:
            return PermissionDenied(
                f"mount on {shared[0].destination!r}: a Wasm guest cannot have a shared or slave mount, "
                "since later mounts of the host in it cannot be checked"
            )
        return kernel_views.refusal(failed) or RootOperation.failure(self, failed)

    def _shared(self) -> list[Mount]:
        return [volume for volume in self.volumes if parse_options(volume.options).propagation & _FROM_HOST]


@dataclass(frozen=True, slots=True)
class CheckEngineShield(RootOperation):
    """Check the mounts of a Wasm guest again after hooks, which may mount anything."""

    def describe(self) -> str:
        return "check again for views of the kernel"

    def instructions(self) -> tuple[Instruction, ...]:
        return (kernel_views.checking(),)

    def failure(self, failed: Failure) -> PelagosError:
        return kernel_views.refusal(failed) or RootOperation.failure(self, failed)


@dataclass(frozen=True, slots=True)
class ShowRelativeLinks(RootOperation):
    """Replace absolute symbolic links on the paths of mounts by relative ones, for a Wasm guest's engine."""

    paths: tuple[str, ...]

    def describe(self) -> str:
        return f"relative links to {', '.join(self.paths)}"

    def instructions(self) -> tuple[Instruction, ...]:
        # Relative to the root, as the paths that an engine opens.
        inside = (posixpath.normpath(f"/{path.lstrip('/')}")[1:] or "." for path in self.paths)
        return (instruction("show_relative_links", *inside),)


@dataclass(frozen=True, slots=True)
class NarrowRoot(RootOperation):
    """Restrict the root of a Wasm guest to some directories of its container."""

    directories: tuple[Directory, ...]

    def describe(self) -> str:
        return f"of the files only {', '.join(each.path for each in self.directories) or 'none'}"

    def details(self) -> str:
        readonly = [each.path for each in self.directories if each.readonly]
        return f"read-only: {', '.join(readonly)}" if readonly else ""

    def instructions(self) -> tuple[Instruction, ...]:
        return narrowing.restricting(self.directories)

    def failure(self, failed: Failure) -> PelagosError:
        return narrowing.failure(self.directories, failed) or RootOperation.failure(self, failed)


@dataclass(frozen=True, slots=True)
class ProtectPaths(RootOperation):
    """Make paths read-only."""

    paths: tuple[str, ...]

    def describe(self) -> str:
        return f"read-only paths: {', '.join(self.paths)}"

    def instructions(self) -> tuple[Instruction, ...]:
        return tuple(instruction("protect_path", path) for path in self.paths)


@dataclass(frozen=True, slots=True)
class MaskPaths(RootOperation):
    """Mask files and directories."""

    paths: tuple[str, ...]

    def describe(self) -> str:
        return f"masked paths: {', '.join(self.paths)}"

    def instructions(self) -> tuple[Instruction, ...]:
        return tuple(instruction("mask_path", path) for path in self.paths)

    def failure(self, failed: Failure) -> PelagosError:
        if failed.stage == "kind":
            return InvalidArgument("/dev/null of the host is not the null device")
        if failed.stage == "attach":
            return mounts.of_kernel(Mount(self.paths[failed.step], "mask", ""), failed)
        return Operation.failure(self, failed)


@dataclass(frozen=True, slots=True)
class MakeWorkingDirectory(RootOperation):
    """Create the process' working directory if it is missing, as in runc."""

    path: str

    def describe(self) -> str:
        return f"working directory {self.path}"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("make_directory", self.path),)


@dataclass(frozen=True, slots=True)
class MakeMountReadonly(RootOperation):
    """Make one mount read-only, after all mount points in it are created."""

    path: str

    def describe(self) -> str:
        return f"read-only {self.path}"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("change_mount", self.path, 0, ATTR_RDONLY, 0, 0),)


@dataclass(frozen=True, slots=True)
class MakeRootReadonly(RootOperation):
    """Make the root read-only, after all mount points are created."""

    def describe(self) -> str:
        return "read-only root"

    def instructions(self) -> tuple[Instruction, ...]:
        # This mount only; mounts on top of it are unchanged.
        return (instruction("change_tree", Slot(ROOT), 0, ATTR_RDONLY, 0, 0),)


@dataclass(frozen=True, slots=True)
class ChangeRoot(RootOperation):
    """Make the assembled directory `/` by pivot_root(2); the host's files are not accessible afterwards."""

    reason: ClassVar[str] = reasons.ISOLATION

    def describe(self) -> str:
        return "change the root"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("change_root"),)


@dataclass(frozen=True, slots=True)
class SetRootPropagation(Operation):
    """Set the propagation of the container's root after the change of root: an MS_ flag."""

    reason: ClassVar[str] = reasons.MOUNT
    flag: int
    recursive: bool

    def describe(self) -> str:
        return f"propagation of the root {self.flag:#x}"

    def details(self) -> str:
        return "with all below" if self.recursive else ""

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("set_propagation", self.flag | (MS_REC if self.recursive else 0)),)


def _details(mount: Mount) -> str:
    """Options and id maps. For types that are not in _LOCAL only the names of options: a value may be a password."""
    shown = [each if mount.type in _LOCAL else each.partition("=")[0] for each in mount.options]
    return ", ".join((*shown, *mount.id_maps.lines()))
