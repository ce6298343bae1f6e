"""Builds an image or a Wasm artifact as values: its config and its blobs. Used by the command only."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pelagos_core.images import media_types
from pelagos_core.images.layer import Layer, Sink
from pelagos_core.images.node_platform import Platform


class Blob(NamedTuple):
    """A blob of an image. `write` writes the same bytes at each call; they have this digest and size."""

    digest: str
    size: int
    write: Callable[[Sink], object]

    @classmethod
    def of(cls, data: bytes) -> Blob:
        """The blob of bytes in memory."""
        return cls(f"sha256:{hashlib.sha256(data).hexdigest()}", len(data), lambda sink: sink(data))

    @classmethod
    def measured(cls, write: Callable[[Sink], object]) -> Blob:
        """The blob that `write` writes. It is called once to compute the digest; the bytes are not stored."""
        found, length = hashlib.sha256(), 0

        def take(data: bytes) -> None:
            nonlocal length
            found.update(data)
            length += len(data)

        write(take)
        return cls(f"sha256:{found.hexdigest()}", length, write)


@dataclass(frozen=True)
class Settings:
    """The settings of an image for its containers: the fields of its config, with docker's names.

    annotations: the manifest's. created: seconds since the epoch.
    """

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    workdir: str = ""
    created: int = 0

    def config(self) -> dict[str, Any]:
        """The part of the config that sets the defaults of containers."""
        fields = {
            "Entrypoint": list(self.entrypoint),
            "Cmd": list(self.command),
            "Env": list(self.env),
            "Labels": dict(sorted(self.labels.items())),
            "User": self.user,
            "WorkingDir": self.workdir,
        }
        return {name: value for name, value in fields.items() if value}

    @property
    def time(self) -> str:
        """`created` in the format of a config (RFC 3339)."""
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.created))


@dataclass(frozen=True)
class Image:
    """A complete image: its blobs, the descriptor for its name, and the digests that docker's format lists.

    config: digest of the config of the first platform; empty for an artifact.
    layers: digests of its layers.
    """

    target: Mapping[str, Any]
    blobs: tuple[Blob, ...]
    layers: tuple[str, ...]
    config: str = ""


def image(layer: Layer, platforms: tuple[Platform, ...], settings: Settings) -> Image:
    """An image with one layer, which all platforms share."""
    files = Blob.measured(layer.write)
    blobs, manifests, configs = [files], [], []
    for each in platforms:
        config = Blob.of(
            _json(
                {
                    "created": settings.time,
                    **each.fields(),
                    "config": settings.config(),
                    "rootfs": {"type": "layers", "diff_ids": [files.digest]},
                    "history": [{"created": settings.time, "created_by": "pelagos pack"}],
                }
            )
        )
        manifest = _manifest(
            descriptor(media_types.CONFIG, config), [descriptor(media_types.LAYER, files)], settings.annotations
        )
        blobs += [config, manifest]
        configs.append(config.digest)
        manifests.append({**descriptor(media_types.MANIFEST, manifest), "platform": each.fields()})
    if len(manifests) == 1:
        return Image(manifests[0], tuple(blobs), (files.digest,), configs[0])
    index = Blob.of(_json({"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": manifests}))
    return Image(descriptor(media_types.INDEX, index), (*blobs, index), (files.digest,), configs[0])


def artifact(module: Blob, title: str, settings: Settings, *, is_component: bool) -> Image:
    """An artifact in the CNCF's layout for Wasm: its one layer is the module.

    Its config has the fields of that layout, and also those of an image's config: containerd reads the
    default arguments of a container from there.
    """
    fields = {
        "created": settings.time,
        "architecture": "wasm",
        "os": "wasip2" if is_component else "wasip1",
        "layerDigests": [module.digest],
        "config": settings.config(),
    }
    config = Blob.of(_json(fields))
    layer = {**descriptor(media_types.WASM_LAYER, module), "annotations": {media_types.TITLE: title}}
    manifest = _manifest(descriptor(media_types.WASM_CONFIG, config), [layer], settings.annotations)
    return Image(descriptor(media_types.MANIFEST, manifest), (module, config, manifest), (module.digest,))


def descriptor(kind: str, blob: Blob) -> dict[str, Any]:
    """The descriptor of a blob. kind: its media type."""
    return {"mediaType": kind, "digest": blob.digest, "size": blob.size}


def _manifest(config: object, layers: list[dict[str, Any]], annotations: Mapping[str, str]) -> Blob:
    fields: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_types.MANIFEST,
        "config": config,
        "layers": layers,
    }
    if annotations:
        fields["annotations"] = dict(sorted(annotations.items()))
    return Blob.of(_json(fields))


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogateescape")
