"""Attaching a file system, or a part of the host's, to an open directory or file.

A target is always a descriptor that was resolved inside the container's root, so that no
symlink of the image can lead a mount elsewhere. Source: mount(2), open_tree(2),
mount_setattr(2), OCI runtime spec "Mounts".
"""

from __future__ import annotations

import os

from pelagos_core.errors import InvalidArgument, PelagosError, code_of, from_fields
from pelagos_core.linux import syscalls, user_namespaces
from pelagos_core.linux.descriptor import Fd
from pelagos_core.oci import IdMaps, Mount
from pelagos_core.rootfs import overlay
from pelagos_core.rootfs.mount_options import (
    ATTR_IDMAP,
    ATTR_NODEV,
    ATTR_NOEXEC,
    ATTR_NOSUID,
    ATTR_RDONLY,
    MountOptions,
    parse_options,
)

_MAX_DATA = 4095  # mount(2) takes one page with its final NUL, and cuts the rest off in silence


def attach(mount: Mount, target: int) -> None:
    """Mount `mount` on the object behind the descriptor `target`.

    In the init process, within its own mount namespace. Raises a PelagosError that names
    the mount.
    """
    options = parse_options(mount.options)
    try:
        if is_bind(mount):
            attach_source(open_source(mount), mount, target)
        else:
            _attach_file_system(mount, options, target)
    except OSError as error:
        raise _named(mount, error) from None


def is_bind(mount: Mount) -> bool:
    """Whether it shows a part of the host's files."""
    return mount.type == "bind" or parse_options(mount.options).bind


def open_source(mount: Mount) -> int:
    """A detached copy of what a bind mount shows, with its attributes; a descriptor of it.

    With the privileges of the host: an id map needs them. Raises OSError or PelagosError.
    """
    options = parse_options(mount.options)
    unknown = (*options.of_file_system, *filter(None, [options.data]), *(options.own & {"tmpcopyup"}))
    if unknown:
        raise InvalidArgument(f"bind mount of {mount.source!r}: unknown option {unknown[0]!r}")
    recursion = syscalls.AT_RECURSIVE if options.recursive else 0
    try:
        opened = Fd(syscalls.open_tree(syscalls.AT_FDCWD, mount.source, syscalls.OPEN_TREE_CLONE | recursion))
    except OSError as error:
        raise InvalidArgument(f"mount source {mount.source!r}: {error.strerror}") from None
    with opened as tree:
        # The attributes are set while the tree is detached: it is never seen writable.
        change(tree, options)
        if mount.id_maps:
            map_ids(tree, mount.id_maps, recursive="ridmap" in options.own)
        elif options.own:
            raise InvalidArgument(f"bind mount of {mount.source!r}: an id map is asked for, and none is given")
        return tree.release()


def change(mount_fd: int, options: MountOptions) -> None:
    """Set attributes and propagation of a mount, and of what lies below it. Raises OSError."""
    for wanted, recursion in ((options.change, 0), (options.deep, syscalls.AT_RECURSIVE)):
        if wanted:
            syscalls.mount_setattr(mount_fd, recursion, wanted.attr_set, wanted.attr_clr, wanted.propagation)


def map_ids(tree: int, id_maps: IdMaps, *, recursive: bool) -> None:
    """Show the ids of a detached tree through a map. Raises OSError or PelagosError."""
    with Fd(user_namespaces.make(id_maps)) as namespace:
        recursion = syscalls.AT_RECURSIVE if recursive else 0
        syscalls.mount_setattr(tree, recursion, ATTR_IDMAP, 0, 0, namespace)


def attach_source(tree: int, mount: Mount, target: int) -> None:
    """Mount what `open_source` gave, and close it. Raises OSError."""
    with Fd(tree):
        syscalls.move_mount(tree, target, mount.source)


def _attach_file_system(mount: Mount, options: MountOptions, target: int) -> None:
    # mount(2) has no form with a target descriptor; its link in /proc is as good, since
    # the host's /proc is still in reach before the root is changed.
    source = mount.source or mount.type
    if not mount.type:
        raise InvalidArgument(f"mount on {mount.destination!r}: it has no type, and is no bind mount")
    if mount.id_maps or options.own & {"idmap", "ridmap"}:
        raise InvalidArgument(f"mount of {source!r} on {mount.destination!r}: only a bind mount can have an id map")
    directory, data = "/", options.data
    if mount.type == "overlay" and len(data.encode()) > _MAX_DATA:
        directory, data = overlay.with_relative_layers(data)
    if len(data.encode()) > _MAX_DATA:
        raise InvalidArgument(f"mount of {source!r} on {mount.destination!r}: options of over {_MAX_DATA} bytes")
    os.chdir(directory)
    try:
        syscalls.mount(source, f"/proc/self/fd/{target}", mount.type, options.flags, data)
    finally:
        os.chdir("/")


def _named(mount: Mount, error: OSError) -> PelagosError:
    code = code_of(error)
    what = f"mount of {mount.source or mount.type!r} ({mount.type or 'bind'}) on {mount.destination!r}"
    return from_fields(code, f"{what}: {error.strerror}")


def detached(directory: int) -> int:
    """A read-only mount of one directory that is attached nowhere; a descriptor of it.

    Through it nothing outside the directory can be reached, not by `..` either, and nothing
    be written, by any process that holds it. Files in it can be mapped for execution. It is gone when the
    descriptor is closed. The directory must be of the caller's own mount namespace.
    Raises OSError.
    """
    with Fd(syscalls.open_tree(directory, "", syscalls.OPEN_TREE_CLONE | syscalls.AT_EMPTY_PATH)) as tree:
        syscalls.mount_setattr(tree, 0, ATTR_RDONLY | ATTR_NODEV | ATTR_NOSUID, ATTR_NOEXEC, 0)
        return tree.release()
