"""Writes an image as one file: a tar with an OCI image layout that also contains docker's format.

`ctr images import`, `docker load`, `podman load`, `nerdctl load`, `skopeo` and `oras` read it. The tar is written
sequentially, so it may be a pipe. No library is used: the layout is two small JSON files besides the blobs
(image-spec, image-layout.md), and the existing libraries are clients of registries, or only read.
"""

from __future__ import annotations

import hashlib
import json
import tarfile

from pelagos_core.errors import InvalidArgument
from pelagos_core.images import layer, reference
from pelagos_core.images.image import Blob, Image
from pelagos_core.images.layer import Sink

_CONTAINERD_NAME = "io.containerd.image.name"
_TAG = "org.opencontainers.image.ref.name"


def write(image: Image, name: str, sink: Sink) -> None:
    """Write the archive of an image. name: its full name. Raises InvalidArgument if a file has changed meanwhile."""
    target = {**image.target, "annotations": {_CONTAINERD_NAME: name, _TAG: reference.tag(name)}}
    files = {"oci-layout": {"imageLayoutVersion": "1.0.0"}, "index.json": {"schemaVersion": 2, "manifests": [target]}}
    docker = {"Config": _path(image.config), "RepoTags": [reference.familiar(name)], "Layers": _paths(image.layers)}
    for directory in ("blobs/", "blobs/sha256/"):
        sink(layer.header(directory, 0, 0o755, tarfile.DIRTYPE))
    for blob in {each.digest: each for each in image.blobs}.values():
        sink(layer.header(_path(blob.digest), blob.size, 0o644))
        _write(blob, sink)
        sink(layer.padding(blob.size))
    for path, value in {**files, **({"manifest.json": [docker]} if image.config else {})}.items():
        data = json.dumps(value, separators=(",", ":")).encode()
        sink(layer.header(path, len(data), 0o644) + data + layer.padding(len(data)))
    sink(layer.END)


def _write(blob: Blob, sink: Sink) -> None:
    found = hashlib.sha256()

    def pass_on(data: bytes) -> None:
        found.update(data)
        sink(data)

    blob.write(pass_on)
    if f"sha256:{found.hexdigest()}" != blob.digest:
        raise InvalidArgument("a file has changed while it was packed")


def _path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _paths(digests: tuple[str, ...]) -> list[str]:
    return [_path(digest) for digest in digests]
