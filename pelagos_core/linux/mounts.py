"""Mounts: option words to flags, and attaching a file system to an open directory.

A target is always a descriptor that was resolved inside the container's root, so that no
symlink of the image can lead a mount elsewhere. Source: mount(8), mount(2),
open_tree(2), mount_setattr(2), OCI runtime spec "Mounts".
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from pelagos_core.errors import InvalidArgument, PelagosError, from_status, to_status
from pelagos_core.linux import syscalls
from pelagos_core.spec import Mount

ATTR_RDONLY = 0x01
ATTR_NODEV = 0x04
ATTR_NOEXEC = 0x08
_ATTR_ATIME = 0x70
_MAX_DATA = 4095  # mount(2) takes one page with its final NUL, and cuts the rest off in silence

# word -> (MS_ flag of mount(2), MOUNT_ATTR_ flag of mount_setattr(2))
_SET = {
    "ro": (1, ATTR_RDONLY),
    "nosuid": (2, 0x02),
    "nodev": (4, ATTR_NODEV),
    "noexec": (8, ATTR_NOEXEC),
    "sync": (16, 0),
    "mand": (64, 0),
    "dirsync": (128, 0),
    "noatime": (1024, 0x10),
    "nodiratime": (2048, 0x80),
    "relatime": (1 << 21, 0),
    "strictatime": (1 << 24, 0x20),
}
_CLEAR = {
    "rw": "ro",
    "suid": "nosuid",
    "dev": "nodev",
    "exec": "noexec",
    "async": "sync",
    "nomand": "mand",
    "atime": "noatime",
    "diratime": "nodiratime",
    "norelatime": "relatime",
    "nostrictatime": "strictatime",
}
_PROPAGATION = {"unbindable": 1 << 17, "private": 1 << 18, "slave": 1 << 19, "shared": 1 << 20}
_IGNORED = frozenset({"defaults", "bind", "rbind", ""})
OPTION_WORDS = {*_SET, *_CLEAR, *_PROPAGATION, *(f"r{word}" for word in _PROPAGATION), "bind", "rbind"}


@dataclass(frozen=True, slots=True)
class MountOptions:
    """Option words, sorted out.

    flags: for mount(2). attr_set, attr_clr: for mount_setattr(2). propagation: an MS_
    propagation flag, 0 to leave it. recursive: whether a bind takes submounts along.
    data: the words that are the file system's own, joined by commas.
    """

    flags: int = 0
    attr_set: int = 0
    attr_clr: int = 0
    propagation: int = 0
    bind: bool = False
    recursive: bool = False
    data: str = ""


def parse_options(words: tuple[str, ...]) -> MountOptions:
    """Sort option words out; later words win over earlier ones, as for mount(8)."""
    flags = attr_set = attr_clr = propagation = 0
    data = []
    for word in words:
        if word in _SET:
            flag, attr = _SET[word]
            flags |= flag
            if attr & _ATTR_ATIME or word == "relatime":
                attr_set &= ~_ATTR_ATIME
                attr_clr |= _ATTR_ATIME  # the kernel wants the whole field cleared to set it
            attr_set |= attr
        elif word in _CLEAR:
            flag, attr = _SET[_CLEAR[word]]
            flags &= ~flag
            attr_set &= ~attr
            attr_clr |= _ATTR_ATIME if attr & _ATTR_ATIME else attr
        elif word.removeprefix("r") in _PROPAGATION or word in _PROPAGATION:
            propagation = _PROPAGATION.get(word) or _PROPAGATION[word.removeprefix("r")]
        elif word not in _IGNORED:
            data.append(word)
    return MountOptions(
        flags=flags,
        attr_set=attr_set,
        attr_clr=attr_clr,
        propagation=propagation,
        bind="bind" in words or "rbind" in words,
        recursive="rbind" in words,
        data=",".join(data),
    )


def attach(mount: Mount, target: int) -> None:
    """Mount `mount` on the object behind the descriptor `target`.

    In the init process, within its own mount namespace. Raises a PelagosError that names
    the mount.
    """
    options = parse_options(mount.options)
    try:
        if options.bind or mount.type == "bind":
            _attach_bind(mount.source, options, target)
        else:
            _attach_file_system(mount, options, target)
    except OSError as error:
        raise _named(mount, error) from None


def is_file(source: str) -> bool:
    """Whether a bind's source is something else than a directory. Raises InvalidArgument."""
    try:
        return not stat.S_ISDIR(os.stat(source).st_mode)
    except OSError as error:
        raise InvalidArgument(f"mount source {source!r}: {error.strerror}") from None


def is_device(source: str) -> bool:
    """Whether a bind's source is a device node, which the caller knows to be there."""
    mode = os.stat(source).st_mode
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def _attach_bind(source: str, options: MountOptions, target: int) -> None:
    if options.data:
        raise InvalidArgument(f"bind mount of {source!r}: unknown option {options.data!r}")
    recursion = syscalls.AT_RECURSIVE if options.recursive else 0
    tree = syscalls.open_tree(syscalls.AT_FDCWD, source, syscalls.OPEN_TREE_CLONE | recursion)
    try:
        # The attributes are set while the tree is detached: it is never seen writable.
        if options.attr_set or options.attr_clr or options.propagation:
            syscalls.mount_setattr(tree, recursion, options.attr_set, options.attr_clr, options.propagation)
        syscalls.move_mount(tree, target, source)
    finally:
        os.close(tree)


def _attach_file_system(mount: Mount, options: MountOptions, target: int) -> None:
    # mount(2) has no form with a target descriptor; its link in /proc is as good, since
    # the host's /proc is still in reach before the root is changed.
    source = mount.source or mount.type
    directory, data = "/", options.data
    if mount.type == "overlay" and len(data.encode()) > _MAX_DATA:
        directory, data = _with_relative_layers(data)
    if len(data.encode()) > _MAX_DATA:
        raise InvalidArgument(f"mount of {source!r} on {mount.destination!r}: options of over {_MAX_DATA} bytes")
    os.chdir(directory)
    try:
        syscalls.mount(source, f"/proc/self/fd/{target}", mount.type, options.flags, data)
    finally:
        os.chdir("/")


def _with_relative_layers(data: str) -> tuple[str, str]:
    """Shorten an overlay's options: (a directory, options whose lower layers are relative to it).

    An image of many layers has more text than mount(2) takes. The options come back as
    they are if a layer's path is relative or holds an escaped character.
    """
    words = data.split(",")
    lower = next((word for word in words if word.startswith("lowerdir=")), "")
    layers = lower.removeprefix("lowerdir=").split(":")
    if "\\" in data or not all(layer.startswith("/") for layer in layers):
        return "/", data
    directory = os.path.commonpath(layers)
    relative = ":".join(os.path.relpath(layer, directory) for layer in layers)
    return directory, ",".join(f"lowerdir={relative}" if word == lower else word for word in words)


def _named(mount: Mount, error: OSError) -> PelagosError:
    code, _ = to_status(error)
    what = f"mount of {mount.source or mount.type!r} ({mount.type or 'bind'}) on {mount.destination!r}"
    return from_status(code, f"{what}: {error.strerror}")
