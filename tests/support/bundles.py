"""Bundles as containerd makes them: config.json, a rootfs, FIFOs for the streams."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import os
import shutil
from pathlib import Path
from typing import Any

NAMESPACES = ("pid", "ipc", "uts", "mount", "network")

CONFIG: dict[str, Any] = {
    "ociVersion": "1.1.0",
    "process": {
        "user": {"uid": 0, "gid": 0},
        "args": ["/app.wasm"],
        "env": ["PATH=/bin"],
        "cwd": "/",
        "noNewPrivileges": True,
    },
    "root": {"path": "rootfs"},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755"]},
    ],
    "linux": {"namespaces": [{"type": kind} for kind in NAMESPACES]},
}


def make_bundle(directory: Path, *args: str, module: Path | None = None, **process: object) -> Path:
    """Make a bundle whose rootfs contains `module` as /app.wasm.

    args: the guest's argv; by default just the module. process: fields of the spec's process.
    """
    rootfs = directory / "rootfs"
    rootfs.mkdir(parents=True)
    if module is not None:
        shutil.copy(module, rootfs / "app.wasm")
    config = copy.deepcopy(CONFIG)
    config["process"].update(process)
    if args:
        config["process"]["args"] = list(args)
    write_config(directory, config)
    return directory


def write_config(bundle: Path, config: object) -> None:
    (bundle / "config.json").write_text(json.dumps(config))


def change_config(bundle: Path, **fields: object) -> None:
    """Replace top-level fields of a bundle's config.json."""
    config = json.loads((bundle / "config.json").read_text())
    config.update(fields)
    write_config(bundle, config)


class Fifos:
    """The FIFOs of one task, with the reading ends open before Create, as in containerd."""

    def __init__(self, directory: Path, *, stdin: bool = False) -> None:
        self.stdin = str(directory / "stdin") if stdin else ""
        self.stdout = str(directory / "stdout")
        self.stderr = str(directory / "stderr")
        for path in filter(None, (self.stdin, self.stdout, self.stderr)):
            os.mkfifo(path)
        self._readers = [os.open(path, os.O_RDONLY | os.O_NONBLOCK) for path in (self.stdout, self.stderr)]

    def output(self) -> tuple[str, str]:
        """Everything written so far to stdout and stderr, without waiting."""
        return _drain(self._readers[0]), _drain(self._readers[1])

    async def some(self, size: int) -> str:
        """Wait for output and return up to `size` bytes of stdout; empty at its end, or after 10 s without output."""
        for _ in range(1000):
            with contextlib.suppress(BlockingIOError):
                return os.read(self._readers[0], size).decode()
            await asyncio.sleep(0.01)
        return ""

    def at_end(self) -> bool:
        """Whether no writer has the FIFO open: read(2) returns end of file instead of EAGAIN."""
        try:
            return all(os.read(fd, 1) == b"" for fd in self._readers)
        except BlockingIOError:
            return False

    def close(self) -> None:
        for fd in self._readers:
            os.close(fd)


def _drain(fd: int) -> str:
    data = b""
    try:
        while chunk := os.read(fd, 65536):
            data += chunk
    except BlockingIOError:
        pass
    return data.decode()
