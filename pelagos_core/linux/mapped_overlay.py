"""An overlay whose lower layers show their ids through a map, as containerd's snapshotter asks.

Source: overlayfs.rst (idmapped layers, Linux 5.19), mount_setattr(2).
"""

from __future__ import annotations

import os
from dataclasses import replace

from pelagos_core.linux import mounts
from pelagos_core.spec import IdMaps, Mount

_LOWER = "lowerdir="


def attach(mount: Mount, path: str) -> None:
    """Mount the overlay at `path`, a directory of the host from the bundle.

    The mapped layers are mounted on a tmpfs at `path`, which the overlay covers then: it has
    copies of its own of them. Raises PelagosError or OSError.
    """
    _on(path, Mount(mount.destination, "tmpfs", "layers", ("mode=700",)))
    mapped = [
        _LOWER + ":".join(_mapped(word.removeprefix(_LOWER), mount.id_maps, path)) if word.startswith(_LOWER) else word
        for word in mount.options
    ]
    _on(path, replace(mount, options=tuple(mapped), id_maps=IdMaps()))


def _mapped(layers: str, id_maps: IdMaps, path: str) -> list[str]:
    places = []
    for number, layer in enumerate(layers.split(":")):
        places.append(f"{path}/{number}")
        os.mkdir(places[-1], 0o700)
        _on(places[-1], Mount("/", "bind", layer, ("bind",), id_maps))
    return places


def _on(path: str, mount: Mount) -> None:
    target = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        mounts.attach(mount, target)
    finally:
        os.close(target)
