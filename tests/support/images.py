"""Images as `ctr images import` takes them: an OCI layout in a tar, made of files."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

_TYPE = "application/vnd.oci.image"


def write_image(target: Path, name: str, files: dict[str, Path]) -> None:
    """An image of one layer, for this platform, that has these files at its top and runs the first."""
    blobs: dict[str, bytes] = {}
    layer = _blob(blobs, _tar({path: file.read_bytes() for path, file in files.items()}), "layer.v1.tar")
    rootfs = {"type": "layers", "diff_ids": [layer["digest"]]}
    entrypoint = {"Entrypoint": [f"/{next(iter(files))}"]}
    config = _blob(
        blobs, _json({"architecture": "amd64", "os": "linux", "config": entrypoint, "rootfs": rootfs}), "config.v1+json"
    )
    manifest = _blob(
        blobs,
        _json({"schemaVersion": 2, "mediaType": f"{_TYPE}.manifest.v1+json", "config": config, "layers": [layer]}),
        "manifest.v1+json",
    )
    manifest["annotations"] = {"io.containerd.image.name": name}
    index = {"schemaVersion": 2, "manifests": [manifest]}
    layout = {"oci-layout": _json({"imageLayoutVersion": "1.0.0"}), "index.json": _json(index)}
    target.write_bytes(_tar({**layout, **{f"blobs/sha256/{digest}": data for digest, data in blobs.items()}}))


def _blob(blobs: dict[str, bytes], data: bytes, kind: str) -> dict[str, Any]:
    """Add a blob; its descriptor."""
    digest = hashlib.sha256(data).hexdigest()
    blobs[digest] = data
    return {"mediaType": f"{_TYPE}.{kind}", "digest": f"sha256:{digest}", "size": len(data)}


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
