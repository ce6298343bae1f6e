"""Mounts of the spec as instructions for the compiled library: a file system, or a bind, on a path of a root.

Pure: no system calls. Source: mount(2), open_tree(2), mount_setattr(2), OCI runtime spec "Mounts".
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import dataclass

from pelagos_core.errors import InvalidArgument, PelagosError, PermissionDenied, code_of, from_fields
from pelagos_core.linux.user_namespaces import map_text
from pelagos_core.native.instruction import Instruction, Slot, instruction
from pelagos_core.native.process import Failure
from pelagos_core.oci import IdMaps, Mount
from pelagos_core.rootfs import mount_points, overlay
from pelagos_core.rootfs.mount_options import Change, MountOptions, parse_options

TREE = Slot("tree")
"""The slot of a detached mount that the next instructions attach."""

_MAX_DATA = 4095  # mount(2) copies one page with its final NUL, and silently truncates longer data
# Masked and read-only paths are paths in these mounts, so no symbolic link may redirect the mounts.
_WITHOUT_LINKS = ("proc", "sysfs")


@dataclass(frozen=True, slots=True)
class Mounting:
    """The instructions for one mount."""

    mount: Mount
    instructions: tuple[Instruction, ...]


def is_bind(mount: Mount) -> bool:
    """Whether it is a bind mount."""
    return mount.type == "bind" or parse_options(mount.options).bind


def mounting(mount: Mount, source: str = "") -> Mounting:
    """Mount a mount of the spec on its destination, which is created if it is missing.

    source: of a bind, the slot that `opening` has filled; empty to open the source now. Raises InvalidArgument.
    """
    links = (instruction("refuse_links", mount.destination),) if mount.type in _WITHOUT_LINKS else ()
    if is_bind(mount):
        opened = () if source else opening(mount, TREE)
        attach = instruction("attach_tree", Slot(source or TREE), mount.destination)
        return Mounting(mount, (*links, *opened, attach))
    options = parse_options(mount.options)
    copied = "tmpcopyup" in options.own
    if copied and mount.type != "tmpfs":
        raise InvalidArgument(f"mount on {mount.destination!r}: tmpcopyup is for a tmpfs")
    # Attributes that mount(2) cannot set.
    left = MountOptions(change=Change(propagation=options.change.propagation), deep=options.deep)
    changes = (instruction("change_mount", mount.destination, *each) for each in _changes(left))
    return Mounting(mount, (*links, file_system(mount, copied=copied), *changes))


def layer(mount: Mount) -> Mounting:
    """Mount a layer of a root with its attributes. Raises InvalidArgument."""
    if is_bind(mount):
        attach = instruction("attach_tree", TREE, mount.destination)
        return Mounting(mount, (*opening(mount, TREE), attach))
    return Mounting(mount, (file_system(mount),))


def opening(mount: Mount, slot: str) -> tuple[Instruction, ...]:
    """Fill a slot with a detached copy of a bind mount's source, with its attributes.

    Needs the privileges of the host for an id map. Raises InvalidArgument.
    """
    options = parse_options(mount.options)
    unknown = (*options.of_file_system, *filter(None, [options.data]), *(options.own & {"tmpcopyup"}))
    if unknown:
        raise InvalidArgument(f"bind mount of {mount.source!r}: unknown option {unknown[0]!r}")
    if options.own and not mount.id_maps:
        raise InvalidArgument(f"bind mount of {mount.source!r}: option idmap or ridmap without an id map")
    tree = Slot(slot)
    changes = (instruction("change_tree", tree, *each) for each in _changes(options))
    maps = (mapping(tree, mount.id_maps, recursive="ridmap" in options.own),) if mount.id_maps else ()
    # The attributes are set while the tree is detached, so it is never writable at its path.
    return (instruction("open_tree", tree, mount.source, int(options.recursive)), *changes, *maps)


def file_system(mount: Mount, directory: str = "/", *, copied: bool = False) -> Instruction:
    """Mount a file system on its destination.

    directory: the working directory for mount(2); empty for the root. copied: copy the covered files into it.
    Raises InvalidArgument.
    """
    options = parse_options(mount.options)
    source = mount.source or mount.type
    if not mount.type:
        raise InvalidArgument(f"mount on {mount.destination!r}: it has no type and is not a bind mount")
    if mount.id_maps or options.own & {"idmap", "ridmap"}:
        raise InvalidArgument(f"mount of {source!r} on {mount.destination!r}: only a bind mount can have an id map")
    data = options.data
    if mount.type == "overlay" and directory == "/" and len(data.encode()) > _MAX_DATA:
        directory, data = overlay.with_relative_layers(data)
    if len(data.encode()) > _MAX_DATA:
        raise InvalidArgument(f"mount of {source!r} on {mount.destination!r}: options of over {_MAX_DATA} bytes")
    words = mount.type, source, options.flags, data, directory, int(copied)
    return instruction("mount_file_system", mount.destination, *words)


def _changes(options: MountOptions) -> list[tuple[int, int, int, int]]:
    """The calls of mount_setattr(2): AT_RECURSIVE or 0, attributes to set and to clear, the propagation."""
    asked = ((options.change, 0), (options.deep, 1))
    return [(deep, each.attr_set, each.attr_clr, each.propagation) for each, deep in asked if each]


def mapping(tree: Slot, id_maps: IdMaps, *, recursive: bool) -> Instruction:
    """Map the ids of a detached tree."""
    return instruction("map_ids", tree, int(recursive), map_text(id_maps.groups), map_text(id_maps.users))


def failure(mountings: Iterable[Mounting], failed: Failure) -> PelagosError | None:
    """The error for one of these mounts; None if the step's own text is enough.

    failed.step: index among all their instructions.
    """
    place = failed.step
    for each in mountings:
        if place < len(each.instructions):
            return _failure(each.mount, each.instructions[place], failed)
        place -= len(each.instructions)
    return None


def _failure(mount: Mount, done: Instruction, failed: Failure) -> PelagosError | None:
    if done.operation == "mount_file_system" and failed.stage == "attach":
        return of_kernel(mount, failed)
    if failed.stage == "map_ids" and failed.detail:
        text = str(done.arguments[2 if failed.detail == "gid_map" else 3]).strip()
        return PermissionDenied(f"{failed.detail} {text!r}: {failed.strerror}")
    refused = _refusal(mount, done, failed)
    return InvalidArgument(refused) if refused else mount_points.failure(failed)


def _refusal(mount: Mount, done: Instruction, failed: Failure) -> str:
    """The text if the requested mount is the cause; else empty."""
    if done.operation == "open_tree":
        return f"mount source {mount.source!r}: {failed.strerror}"
    if done.operation == "refuse_links":
        return f"mount of {mount.type!r} on {mount.destination!r}: the image has a symbolic link there"
    if failed.stage == "limit":
        return f"mount of {mount.source!r} on {mount.destination!r}: too many devices are mounted"
    if failed.stage == "copy" and failed.error == errno.ELOOP:
        return f"mount on {mount.destination!r}: tmpcopyup of too many levels of directories"
    return ""


def of_kernel(mount: Mount, failed: Failure) -> PelagosError:
    """The error for a mount that the kernel refuses."""
    code = code_of(OSError(failed.error, failed.strerror))
    what = f"mount of {mount.source or mount.type!r} ({mount.type or 'bind'}) on {mount.destination!r}"
    return from_fields(code, f"{what}: {failed.strerror}")
