"""Runs docker's registry, from Debian's package, on the loopback interface."""

from __future__ import annotations

import http.client
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from pelagos_core.images import media_types
from pelagos_core.images.image import Blob, Image
from tests.support import provision
from tests.support.containerd import until

_CONFIG = """\
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: "{directory}/data"}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


class Registry:
    """One registry without TLS and accounts, with its data in a new directory. A context manager."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="registry-"))
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        self.name = f"127.0.0.1:{port}"
        (self._directory / "config.yml").write_text(_CONFIG.format(directory=self._directory, port=port))
        words = [provision.registry(), "serve", self._directory / "config.yml"]
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: self._process.poll() is not None or _answers(port))

    def push(self, image: Image, path: str, tag: str) -> str:
        """Push an image, as clients do (distribution-spec); return its name."""
        manifests = [blob for blob in image.blobs if b'"schemaVersion"' in _bytes(blob)[:20]]
        for blob in image.blobs:
            if blob not in manifests:
                place = self._ask("POST", f"/v2/{path}/blobs/uploads/").headers["Location"]
                self._ask("PUT", f"{place}&digest={blob.digest}", _bytes(blob))
        for blob in manifests:  # an index must follow its manifests
            is_target = blob.digest == image.target["digest"]
            kind = image.target["mediaType"] if is_target else media_types.MANIFEST
            self._ask("PUT", f"/v2/{path}/manifests/{tag if is_target else blob.digest}", _bytes(blob), kind)
        return f"{self.name}/{path}:{tag}"

    def _ask(self, method: str, path: str, data: bytes = b"", kind: str = "application/octet-stream"):
        connection = http.client.HTTPConnection(self.name, timeout=10)
        try:
            connection.request(method, path[path.index("/v2/") :], data, {"Content-Type": kind})
            answer = connection.getresponse()
            said = answer.read()
            assert answer.status < 300, f"{method} {path}: {answer.status} {said!r}"
            return answer
        finally:
            connection.close()

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._directory)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _bytes(blob: Blob) -> bytes:
    parts: list[bytes] = []
    blob.write(parts.append)
    return b"".join(parts)
