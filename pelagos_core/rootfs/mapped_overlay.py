"""An overlay with id-mapped lower layers, as requested by containerd's snapshotter.

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
    """Mount the overlay as a layer of a root.

    The mapped layers and the overlay are mounted on a tmpfs on the root. A mounted overlay has private copies of its
    layers' mounts, so the tmpfs is then unmounted and the overlay is mounted on the root: no hidden mount is left
    below it. Raises InvalidArgument.
    """
    staging = Mount("/", "tmpfs", "layers", ("mode=700",))
    lower = next((word for word in mount.options if word.startswith(_LOWER)), _LOWER)
    sources = lower.removeprefix(_LOWER).split(":")
    layers = [_mapped(source, f"/{number}", mount.id_maps) for number, source in enumerate(sources)]
    # The layers' paths are relative to the root, whose own path is known only in the init process.
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
