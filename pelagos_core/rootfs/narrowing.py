"""Restricts a root to some of its directories. Mounts enforce it, independent of the engine."""

from __future__ import annotations

import os
import posixpath

from pelagos_core.config.policy import Directory
from pelagos_core.errors import NotFound, PelagosError
from pelagos_core.linux.descriptor import Fd
from pelagos_core.native.instruction import Instruction, Slot, instruction
from pelagos_core.native.process import Failure
from pelagos_core.rootfs.mount_options import ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY
from pelagos_core.rootfs.root import Root

_NOTHING = Slot("nothing")


def restricting(directories: tuple[Directory, ...]) -> tuple[Instruction, ...]:
    """Replace the root by an empty read-only one that contains only the given directories.

    directories: sorted, so that a directory precedes those in it.
    """
    opened = (each for number, directory in enumerate(directories) for each in _opening(directory, _tree(number)))
    placed = (_placing(directory, _tree(number)) for number, directory in enumerate(directories))
    if directories and directories[0].path == "/":
        return (*opened, *placed)
    attributes = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC
    empty = instruction("make_tmpfs", _NOTHING, "empty", "755", "64k", attributes)
    readonly = instruction("change_tree", Slot("root"), 0, ATTR_RDONLY, 0, 0)
    return (*opened, empty, instruction("cover_root", _NOTHING), *placed, readonly)


def failure(directories: tuple[Directory, ...], failed: Failure) -> PelagosError | None:
    """The error for a missing directory; None for another failure."""
    if failed.stage != "source":
        return None
    path = restricting(directories)[failed.step].arguments[1]
    return NotFound(f"directory {path!r} in the container: {failed.strerror}")


def directory_path(root: Root, path: str) -> str:
    """Resolve a directory to a path from the container's root without symbolic links; empty if it is missing."""
    try:
        fd = Fd(root.open(path, os.O_PATH | os.O_DIRECTORY))
    except OSError:
        return ""
    with fd:
        top, found = (os.readlink(f"/proc/self/fd/{each}") for each in (root.fd, fd))
    return posixpath.normpath(f"/{os.path.relpath(found, top)}")


def _tree(number: int) -> Slot:
    return Slot(f"directory {number}")


def _opening(directory: Directory, tree: Slot) -> tuple[Instruction, ...]:
    readonly = (instruction("change_tree", tree, 1, ATTR_RDONLY, 0, 0),) if directory.readonly else ()
    return (instruction("copy_tree", tree, directory.path, 1), *readonly)


def _placing(directory: Directory, tree: Slot) -> Instruction:
    whole = directory.path == "/"
    return instruction("cover_root", tree) if whole else instruction("attach_tree", tree, directory.path)
