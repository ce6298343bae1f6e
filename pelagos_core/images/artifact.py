"""Reads the Wasm modules of an image from its manifest. Pure functions without I/O.

A manifest is untrusted: the image's author has written it. Each error names the fault.
"""

from __future__ import annotations

import json
import posixpath
import re
from typing import Any, NamedTuple

from pelagos_core import reasons
from pelagos_core.config import size
from pelagos_core.errors import InvalidArgument, NotFound, ResourceExhausted
from pelagos_core.images import media_types
from pelagos_core.images.node_platform import Platform

MAX_MANIFEST = 4 << 20
"""The largest manifest or index that is read, in bytes."""
MAX_MODULE = 1 << 30
"""The largest module that is read, in bytes; the limit for files is the same (native/process/entrypoint.c)."""

# One of these characters precedes each value in JSON. Their number limits the memory of the parsed objects: `{}` is two
# bytes in JSON, 64 in memory. Characters in texts are counted too, but a manifest of _MAX_MODULES has only 20,000.
_PARTS, _MAX_PARTS = (b"{", b"[", b",", b":"), 100_000
_MAX_MODULES = 1000
_MAX_TITLE = 1024
_SHOWN = 10  # titles in an error
_DIGEST = re.compile("sha256:[0-9a-f]{64}")
_INDEXES = frozenset({media_types.INDEX, media_types.DOCKER_INDEX})
_MANIFESTS = frozenset({media_types.MANIFEST, media_types.DOCKER_MANIFEST})


class Descriptor(NamedTuple):
    """A blob: the sha256 of its bytes in hex, and its size in bytes."""

    media_type: str
    digest: str
    size: int


class Module(NamedTuple):
    """A layer that is a module. title: the file's name; empty if there is none."""

    digest: str
    size: int
    title: str = ""


def descriptor(media_type: object, digest: object, length: object) -> Descriptor:
    """Check the fields of a descriptor and return it. Raises InvalidArgument."""
    if type(media_type) is not str or type(digest) is not str or type(length) is not int:
        raise _wrong("a descriptor is malformed")
    if not _DIGEST.fullmatch(digest):
        raise _wrong(f"digest {digest[:_MAX_TITLE]!r} is not a sha256")
    if length < 0:
        raise _wrong(f"blob {digest} has {length} bytes")
    return Descriptor(media_type, digest.removeprefix("sha256:"), length)


def is_index(target: Descriptor) -> bool:
    """Whether a blob is an index of manifests. Raises InvalidArgument if it is neither an index nor a manifest."""
    if target.media_type not in _INDEXES | _MANIFESTS:
        raise _wrong(f"media type {target.media_type[:_MAX_TITLE]!r} is no image")
    return target.media_type in _INDEXES


def manifest_of(index: bytes, node: Platform) -> Descriptor | None:
    """The manifest of an index that a node uses: the one of its platform, as containerd chooses, else one for Wasm.

    Returns None if there is neither. Raises InvalidArgument for a malformed index.
    """
    entries = _list(_object(index), "manifests")
    for fits in (lambda os, machine: (os, machine) == node[:2], lambda _, machine: machine == "wasm"):
        for entry in entries:
            platform = entry.get("platform") or {}
            if type(platform) is dict and fits(platform.get("os"), platform.get("architecture")):
                return _described(entry)
    return None


def modules(manifest: bytes) -> list[Module]:
    """The layers of a manifest that are modules. Raises InvalidArgument, or ResourceExhausted if one is too large."""
    found = []
    for layer in _list(_object(manifest), "layers"):
        kind = layer.get("mediaType")
        if type(kind) is not str or kind not in media_types.WASM_LAYERS:
            continue
        blob = _described(layer)
        if blob.size > MAX_MODULE:
            text = f"a module of {size.describe(blob.size)}: more than {size.describe(MAX_MODULE)} are not taken"
            raise ResourceExhausted(text, reasons.IMAGE)
        annotations = layer.get("annotations")
        title = annotations.get(media_types.TITLE, "") if type(annotations) is dict else ""
        if type(title) is not str or len(title) > _MAX_TITLE:
            raise _wrong(f"the title of layer sha256:{blob.digest} is malformed")
        found.append(Module(blob.digest, blob.size, title))
    if len(found) > _MAX_MODULES:
        raise _wrong(f"it has more than {_MAX_MODULES} modules")
    return found


def choose(found: list[Module], path: str, *, only: bool) -> Module | None:
    """The module that a path names: the last part of the path is compared with the titles.

    only: whether any name means the module if there is only one, as for a container's first process.
    Returns None if the only module is not meant. Raises NotFound if there are several, and none has this name.
    """
    name = posixpath.basename(path)
    for each in found:
        if name and posixpath.basename(each.title) == name:
            return each
    if not found or not only:
        return None
    if len(found) > 1:
        titles = ", ".join(repr(each.title or f"sha256:{each.digest}") for each in found[:_SHOWN])
        raise NotFound(f"none of its {len(found)} modules is named {name!r}: it has {titles}", reasons.IMAGE)
    return found[0]


def _described(entry: dict[str, Any]) -> Descriptor:
    return descriptor(entry.get("mediaType"), entry.get("digest"), entry.get("size"))


def _object(data: bytes) -> dict[str, Any]:
    if sum(map(data.count, _PARTS)) > _MAX_PARTS:
        raise _wrong(f"its manifest has more than {_MAX_PARTS} parts")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if type(found) is not dict:
        raise _wrong("its manifest is not a JSON object")
    return found


def _list(found: dict[str, Any], name: str) -> list[dict[str, Any]]:
    entries = [] if found.get(name) is None else found[name]
    if type(entries) is not list or not all(type(each) is dict for each in entries):
        raise _wrong(f"its manifest has {name} that are no list of descriptors")
    return entries


def _wrong(why: str) -> InvalidArgument:
    return InvalidArgument(why, reasons.IMAGE)
