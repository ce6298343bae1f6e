"""Makes images for `ctr images import`, with the code of `pelagos pack`."""

from __future__ import annotations

import json
from pathlib import Path

from pelagos_core.images import archive, image, media_types
from pelagos_core.images.image import Blob, Image, Settings
from pelagos_core.images.layer import Layer
from pelagos_core.images.media_types import TITLE
from pelagos_core.images.node_platform import Platform


def write_image(target: Path, name: str, files: dict[str, Path]) -> None:
    """Write an image for this platform with one layer. It has these files at its root, and runs the first one."""
    layer = Layer()
    for path, file in files.items():
        layer.add(str(file), f"/{path}")
    settings = Settings(entrypoint=(f"/{next(iter(files))}",))
    made = image.image(layer, (Platform.of_this_machine(),), settings)
    write(target, name, made)


def of_modules(modules: dict[str, bytes], media_type: str, config: str) -> Image:
    """An image whose layers are modules with this media type; it runs the first. config: the config's media type."""
    titles, blobs = list(modules), [Blob.of(data) for data in modules.values()]
    fields = {
        "architecture": Platform.of_this_machine().architecture,
        "os": "linux",
        "config": {"Entrypoint": [f"/{titles[0]}"]},
        "rootfs": {"type": "layers", "diff_ids": []},
        "layerDigests": [blob.digest for blob in blobs],  # otherwise the CRI treats all of these images as one
    }
    layers = [
        {**image.descriptor(media_type, blob), "annotations": {TITLE: title}}
        for title, blob in zip(titles, blobs, strict=True)
    ]
    about = Blob.of(json.dumps(fields).encode())
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_types.MANIFEST,
        "config": image.descriptor(config, about),
        "layers": layers,
    }
    whole = Blob.of(json.dumps(manifest).encode())
    return Image(image.descriptor(media_types.MANIFEST, whole), (*blobs, about, whole), ())


def listed(made: Image, **platform: str) -> Image:
    """An index that contains this image, for a platform."""
    entries = [{**made.target, "platform": platform}]
    index = Blob.of(json.dumps({"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": entries}).encode())
    return Image(image.descriptor(media_types.INDEX, index), (*made.blobs, index), ())


def write(target: Path, name: str, made: Image) -> None:
    """Write an image as a file."""
    with target.open("wb") as file:
        archive.write(made, name, file.write)
