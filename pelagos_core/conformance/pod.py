"""Runs a pod as containerd does: with a bundle, the installed shim, and its task API. Requires root."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from google.protobuf.any_pb2 import Any as Value

from pelagos_core.api import task_pb2 as api
from pelagos_core.conformance import modules
from pelagos_core.errors import PelagosError
from pelagos_core.task import NAMES
from pelagos_core.ttrpc.client import Client
from pelagos_core.ttrpc.service import Service

_TASK = Service(NAMES[0], api.DESCRIPTOR.services_by_name["Task"])
_PROCESS = "types.containerd.io/opencontainers/runtime-spec/1/Process"
_LAUNCHER = "containerd-shim-pelagos-wasm-v1"
_SECONDS = 60
_NAMESPACES = ("pid", "ipc", "uts", "mount", "network")


class Pod:
    """A pod with one container, `c`, and its execs."""

    def __init__(self, client: Client, directory: Path, backend: str) -> None:
        self._client = client
        self._directory = directory
        self._backend = backend
        self._streams: dict[str, dict[str, int]] = {}

    async def create(self, files: dict[str, str], *args: str, **policy: str) -> None:
        """Create the container.

        files: modules in text format, by their names in the container's root. args: its process's arguments.
        policy: the annotations `io.pelagos.wasm.KEY`.
        """
        rootfs = self._directory / "rootfs"
        rootfs.mkdir()
        for name, source in files.items():
            (rootfs / name).write_bytes(modules.binary(source))
        config = {
            "ociVersion": "1.1.0",
            "process": _process(args),
            "root": {"path": "rootfs"},
            "annotations": {
                f"io.pelagos.wasm.{key}": word for key, word in {"runtime": self._backend, **policy}.items()
            },
            "linux": {
                "namespaces": [{"type": kind} for kind in _NAMESPACES],
                "cgroupsPath": f"/pelagos-conformance/{self._directory.name}",
            },
        }
        (self._directory / "config.json").write_text(json.dumps(config))
        streams = self._opened("")
        await self._call("Create", api.CreateTaskRequest(id="c", bundle=str(self._directory), **streams))

    async def exec(self, exec_id: str, *args: str) -> None:
        """Create and start an exec."""
        spec = Value(type_url=_PROCESS, value=json.dumps(_process(args)).encode())
        await self._call("Exec", api.ExecProcessRequest(id="c", exec_id=exec_id, spec=spec, **self._opened(exec_id)))
        await self.start(exec_id)

    async def start(self, exec_id: str = "") -> None:
        """Start a process."""
        await self._call("Start", api.StartRequest(id="c", exec_id=exec_id))

    async def pause(self) -> None:
        """Pause all processes."""
        await self._call("Pause", api.PauseRequest(id="c"))

    async def resume(self) -> None:
        """Resume all processes."""
        await self._call("Resume", api.ResumeRequest(id="c"))

    async def kill(self, signum: int, exec_id: str = "") -> None:
        """Send a signal to a process."""
        await self._call("Kill", api.KillRequest(id="c", exec_id=exec_id, signal=signum))

    async def ended(self, exec_id: str = "") -> int:
        """Wait until a process has ended; return its exit code."""
        return int((await self._call("Wait", api.WaitRequest(id="c", exec_id=exec_id))).exit_status)

    def write(self, data: bytes, exec_id: str = "") -> None:
        """Write to the stdin of a process."""
        os.write(self._streams[exec_id]["stdin"], data)

    async def read(self, size: int, exec_id: str = "", seconds: float = _SECONDS) -> bytes:
        """Read up to `size` bytes of a process's stdout; fewer if they do not arrive within `seconds`."""
        data, deadline = b"", time.monotonic() + seconds
        while len(data) < size and time.monotonic() < deadline:
            with contextlib.suppress(BlockingIOError):
                data += os.read(self._streams[exec_id]["stdout"], size - len(data))
            await asyncio.sleep(0.01)
        return data

    async def close(self) -> None:
        """Kill and delete everything."""
        with contextlib.suppress(PelagosError):
            await self.kill(signal.SIGKILL)
            await self.ended()
        with contextlib.suppress(PelagosError):
            await self._call("Delete", api.DeleteRequest(id="c"))
        with contextlib.suppress(PelagosError):
            await self._call("Shutdown", api.ShutdownRequest(id="c"))
        for opened in self._streams.values():
            for fd in opened.values():
                os.close(fd)

    async def _call(self, method: str, request: Any) -> Any:  # noqa: ANN401 (the method decides the messages)
        return await self._client.call(method, request, _SECONDS)

    def _opened(self, exec_id: str) -> dict[str, Any]:
        """Create FIFOs as containerd does, and open them without blocking."""
        paths = {stream: str(self._directory / f"{exec_id}.{stream}") for stream in ("stdin", "stdout", "stderr")}
        for path in paths.values():
            os.mkfifo(path)
        self._streams[exec_id] = {
            stream: os.open(path, (os.O_RDWR if stream == "stdin" else os.O_RDONLY) | os.O_NONBLOCK)
            for stream, path in paths.items()
        }
        return paths


def _process(args: tuple[str, ...]) -> dict[str, object]:
    return {"args": list(args), "cwd": "/", "env": ["A=1"], "user": {"uid": 0, "gid": 0}}


@contextlib.asynccontextmanager
async def pod(directory: Path, backend: str) -> AsyncIterator[Pod]:
    """Start a shim by its launcher, as containerd does; remove everything at the end."""
    (directory / "bin").mkdir()
    words = [sys.executable, "-m", "pelagos_core", "install", "--no-containerd", "--bin-dir", str(directory / "bin")]
    subprocess.run(words, capture_output=True, check=True)
    bundle = directory / "bundle"
    bundle.mkdir()
    # pytest's own directories are too long for a socket's path.
    with tempfile.TemporaryDirectory(prefix="pelagos-") as sockets:
        environment = {**os.environ, "PELAGOS_SOCKET_DIR": sockets}
        words = [str(directory / "bin" / _LAUNCHER), "-namespace", "conformance", "-id", "c"]
        words += ["-address", f"{sockets}/none", "start"]
        started = subprocess.run(words, cwd=bundle, env=environment, capture_output=True, check=False)
        assert started.returncode == 0, started.stderr.decode(errors="replace")
        address = started.stdout.decode().strip().removeprefix("unix://")
        async with await Client.connect(address, _TASK) as client:
            made = Pod(client, bundle, backend)
            try:
                yield made
            finally:
                await made.close()
