"""An overlay whose lower layers show their ids through a map, as containerd's snapshotter asks.

Source: overlayfs.rst (idmapped layers, Linux 5.19), mount_setattr(2).
"""

from __future__ import annotations

import os
from dataclasses import replace

from pelagos_core.linux import syscalls
from pelagos_core.linux.descriptor import Fd
from pelagos_core.oci import IdMaps, Mount
from pelagos_core.rootfs import mounts

_LOWER = "lowerdir="


def attach(mount: Mount, path: str) -> None:
    """Mount the overlay at `path`, a directory of the host from the bundle.

    The mapped layers, and at first the overlay too, are mounted on a tmpfs at `path`. The overlay
    has copies of its own of the layers as soon as it is mounted, so the rest is taken away: nothing
    is left below the root that its container cannot see. Raises PelagosError or OSError.
    """
    _on(path, Mount(mount.destination, "tmpfs", "layers", ("mode=700",)))
    mapped = [
        _LOWER + ":".join(_mapped(word.removeprefix(_LOWER), mount.id_maps, path)) if word.startswith(_LOWER) else word
        for word in mount.options
    ]
    merged = f"{path}/merged"
    os.mkdir(merged, 0o700)
    _on(merged, replace(mount, options=tuple(mapped), id_maps=IdMaps()))
    with Fd(syscalls.open_tree(syscalls.AT_FDCWD, merged, syscalls.OPEN_TREE_CLONE)) as tree:
        syscalls.umount2(path, syscalls.MNT_DETACH | syscalls.UMOUNT_NOFOLLOW)
        with Fd(_opened(path)) as target:
            syscalls.move_mount(tree, target, path)


def _mapped(layers: str, id_maps: IdMaps, path: str) -> list[str]:
    places = []
    for number, layer in enumerate(layers.split(":")):
        places.append(f"{path}/{number}")
        os.mkdir(places[-1], 0o700)
        _on(places[-1], Mount("/", "bind", layer, ("bind",), id_maps))
    return places


def _on(path: str, mount: Mount) -> None:
    with Fd(_opened(path)) as target:
        mounts.attach(mount, target)


def _opened(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
