"""The root file system in a Create request: containerd's mounts, checked."""

from __future__ import annotations

import os

from pelagos_core.api.types_pb2 import Mount as MountMessage
from pelagos_core.errors import InvalidArgument, NotFound
from pelagos_core.oci import IdMaps, Mount
from pelagos_core.oci.id_maps import parse_option

_ID_MAPS = ("uidmap=", "gidmap=")  # options that containerd adds for id-mapped mounts


def rootfs_mounts(messages: list[MountMessage]) -> tuple[Mount, ...]:
    """The rootfs list of a Create request, as mounts with a destination inside the root.

    Raises InvalidArgument for a string that holds a NUL byte and for a mount without a type,
    NotFound for a bind whose source does not exist.
    """
    return tuple(_rootfs_mount(message) for message in messages)


def _rootfs_mount(message: MountMessage) -> Mount:
    words = (message.type, message.source, message.target, *message.options)
    if any("\0" in word for word in words):
        raise InvalidArgument(f"rootfs mount of {message.source!r}: holds a NUL byte")
    if not message.type:
        raise InvalidArgument(f"rootfs mount of {message.source!r}: has no type")
    if message.type == "bind" and not os.path.exists(message.source):
        raise NotFound(f"rootfs mount of {message.source!r}: it does not exist")
    destination = "/" + message.target.lstrip("/")
    maps = {word.partition("=")[0]: word.partition("=")[2] for word in message.options if word.startswith(_ID_MAPS)}
    users, groups = (parse_option(maps[name]) if name in maps else () for name in ("uidmap", "gidmap"))
    options = tuple(word for word in message.options if not word.startswith(_ID_MAPS))
    return Mount(destination, message.type, message.source, options, IdMaps(users, groups))
