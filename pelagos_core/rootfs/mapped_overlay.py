"""An overlay whose lower layers show their ids through a map, as containerd's snapshotter asks.

Source: overlayfs.rst (idmapped layers, Linux 5.19), mount_setattr(2).
"""

from __future__ import annotations

from dataclasses import replace

from pelagos_core.native.instruction import instruction
from pelagos_core.oci import IdMaps, Mount
from pelagos_core.rootfs.mounts import TREE, Mounting, file_system, mapping

_LOWER = "lowerdir="
_MERGED = "/merged"


def layer(mount: Mount) -> tuple[Mounting, ...]:
    """Put the overlay in its place, as a layer of a root.

    The mapped layers, and at first the overlay too, are mounted on a tmpfs on the root. The overlay
    has copies of its own of the layers as soon as it is mounted, so the rest is taken away: nothing
    is left below the root that its container cannot see. Raises InvalidArgument.
    """
    staging = Mount("/", "tmpfs", "layers", ("mode=700",))
    lower = next((word for word in mount.options if word.startswith(_LOWER)), _LOWER)
    sources = lower.removeprefix(_LOWER).split(":")
    layers = [_mapped(source, f"/{number}", mount.id_maps) for number, source in enumerate(sources)]
    # By the layers' paths from the root: that of the root itself is known in its process only.
    relative = _LOWER + ":".join(str(number) for number in range(len(sources)))
    options = tuple(relative if word == lower else word for word in mount.options)
    merged = replace(mount, destination=_MERGED, options=options, id_maps=IdMaps())
    take = (instruction("copy_tree", TREE, _MERGED, 0), instruction("uncover_root"), instruction("cover_root", TREE))
    return (
        Mounting(staging, (file_system(staging), instruction("open_root"))),
        *layers,
        Mounting(mount, (file_system(merged, directory=""), *take)),
    )


def _mapped(source: str, place: str, id_maps: IdMaps) -> Mounting:
    steps = (instruction("open_tree", TREE, source, 0), mapping(TREE, id_maps, recursive=False))
    return Mounting(Mount(place, "bind", source), (*steps, instruction("attach_tree", TREE, place)))
