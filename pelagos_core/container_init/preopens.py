"""Which directories a guest is given, derived from the container's mounts and its policy."""

from __future__ import annotations

import posixpath

from pelagos_core.bundle import Bundle
from pelagos_core.entrypoint import Preopen
from pelagos_core.linux.mount_options import ATTR_RDONLY, MS_RDONLY, parse_options
from pelagos_core.linux.mount_table import KERNEL_FILE_SYSTEMS
from pelagos_core.linux.narrowing import directory_path
from pelagos_core.linux.rootfs import Root
from pelagos_core.policy import Directory
from pelagos_core.spec import Mount, Spec


def of(bundle: Bundle, root: Root) -> tuple[Preopen, ...]:
    """The directories of a guest, its working directory first.

    In the init process, when all is mounted. Their paths are resolved in the root here: an
    engine, which opens them later, may see more than the container does.
    """
    narrowed = bundle.policy.directories
    given = list(narrowed[-1]) if narrowed else _of_mounts(bundle.spec)
    cwd = posixpath.normpath(bundle.spec.process.cwd)
    if (around := _around(cwd, given)) is not None:
        given = [Directory(cwd, around.readonly), *(each for each in given if each.path != cwd)]
    found = [(each, directory_path(root, each.path)) for each in given]
    return tuple(Preopen(each.path, path, each.readonly) for each, path in found if path)


def _of_mounts(spec: Spec) -> list[Directory]:
    """The root, and each mount that may be written to where what is around it may not, or the reverse.

    A guest's library takes the longest name that fits a path, so that the engine refuses what
    the kernel would refuse. Of several mounts on one place the last one is seen.
    """
    given = {"/": Directory("/", spec.root.readonly)}
    for mount in spec.mounts:
        if mount.type in KERNEL_FILE_SYSTEMS:
            continue
        path = posixpath.normpath(f"/{mount.destination.lstrip('/')}")
        given[path] = Directory(path, _is_readonly(mount))
    kept: list[Directory] = []
    for path in sorted(given):
        around = _around(path, kept)
        if around is None or around.readonly != given[path].readonly:
            kept.append(given[path])
    return kept


def _is_readonly(mount: Mount) -> bool:
    options = parse_options(mount.options)
    return bool((options.change.attr_set | options.deep.attr_set) & ATTR_RDONLY or options.flags & MS_RDONLY)


def _around(path: str, directories: list[Directory]) -> Directory | None:
    """The innermost directory that a path is in."""
    fitting = [each for each in directories if f"{path}/".startswith(f"{each.path.rstrip('/')}/")]
    return max(fitting, key=lambda each: len(each.path), default=None)
