"""A real registry on the loopback, Debian's: docker's own program."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from tests.support import provision
from tests.support.containerd import until

_CONFIG = """\
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: "{directory}/data"}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


class Registry:
    """One registry, without TLS and accounts, with its data in a directory of its own. A context manager."""

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

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._directory)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
