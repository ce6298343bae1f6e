"""containerd's part, played by `pelagos run`: a bundle, FIFOs, the shim, and its task API."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from pelagos_core.api import task_pb2 as api
from pelagos_core.api.types_pb2 import Mount as MountMessage
from pelagos_core.cli import launcher, terminal
from pelagos_core.config import CACHE_VARIABLE
from pelagos_core.errors import Internal, InvalidArgument, NotFound, PelagosError
from pelagos_core.spec import Mount
from pelagos_core.task import NAMES
from pelagos_core.ttrpc.client import Client
from pelagos_core.ttrpc.service import Service
from pelagos_core.zygote.messages import ENVIRONMENT, VARIABLE

NAMESPACE = "pelagos"
_TASK = Service(NAMES[0], api.DESCRIPTOR.services_by_name["Task"])
_DEV = Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=64k"))
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_CHUNK = 64 << 10


class Workspace:
    """A private directory for one container: its bundle, FIFOs and the shim's socket."""

    def __init__(self) -> None:
        self.id = f"run-{secrets.token_hex(4)}"
        parent = Path("/run/pelagos")
        with contextlib.suppress(OSError):
            parent.mkdir(mode=0o700, exist_ok=True)
        usable = os.access(parent, os.W_OK | os.X_OK)
        self._directory = Path(tempfile.mkdtemp(prefix=f"{self.id}-", dir=parent if usable else None))
        self.bundle = self._directory / "bundle"
        self.bundle.mkdir()

    @property
    def sockets(self) -> Path:
        """Where the shim puts its socket: an own place, so that no containerd is in the way."""
        return self._directory / "s"

    def fifo(self, name: str) -> str:
        """Make a FIFO; return its path."""
        path = self._directory / name
        os.mkfifo(path, 0o600)
        return str(path)

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Nothing is mounted below: the container's mounts are in its own namespace.
        shutil.rmtree(self._directory, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Container:
    """What to run. Either `rootfs` (a directory) or `module` (a file) is given."""

    rootfs: Path | None
    module: Path | None
    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    mounts: tuple[Mount, ...]
    annotations: dict[str, str]
    resources: Mapping[str, object] = field(default_factory=dict)
    terminal: bool = False

    async def run(self, workspace: Workspace, *, interactive: bool) -> int:
        """Run it to its end through a shim of its own; return its exit code.

        Raises PelagosError if it could not be run.
        """
        self._write_bundle(workspace)
        address = _start_shim(workspace)
        async with await Client.connect(address, _TASK) as client:
            try:
                session = _Session(client, workspace, interactive=interactive, tty=self.terminal)
                with terminal.raw() if interactive and self.terminal else contextlib.nullcontext():
                    return await session.run(self._layers())
            finally:
                await client.call("Shutdown", api.ShutdownRequest(id=workspace.id))

    def _environment(self) -> tuple[str, ...]:
        if not self.terminal or any(variable.startswith("TERM=") for variable in self.env):
            return self.env
        return (f"TERM={os.environ.get('TERM', 'xterm')}", *self.env)

    def _layers(self) -> list[MountMessage]:
        if self.rootfs is None:
            return []
        return [MountMessage(type="bind", source=str(self.rootfs), options=["rbind", "rw"])]

    def _own_mounts(self) -> tuple[Mount, ...]:
        """A /dev, as ctr and docker give one; but no directory is made for it among the user's files."""
        return (_DEV,) if self.rootfs is None or (self.rootfs / "dev").is_dir() else ()

    def _write_bundle(self, workspace: Workspace) -> None:
        rootfs = workspace.bundle / "rootfs"
        rootfs.mkdir()
        if self.module is not None:
            _copy_module(self.module, rootfs / self.module.name)
        config = {
            "ociVersion": "1.1.0",
            "process": {
                "args": self.args,
                "env": self._environment(),
                "cwd": self.cwd,
                "user": {"uid": 0, "gid": 0},
                "terminal": self.terminal,
            },
            "root": {"path": "rootfs"},
            "mounts": [
                {"destination": m.destination, "type": m.type, "source": m.source, "options": m.options}
                for m in (*self._own_mounts(), *self.mounts)
            ],
            "annotations": self.annotations,
            "linux": {
                "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")],
                "resources": self.resources,
            },
        }
        (workspace.bundle / "config.json").write_text(json.dumps(config))


def _copy_module(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError:
        raise NotFound(f"module {str(source)!r} does not exist") from None
    except shutil.SpecialFileError:
        raise InvalidArgument(f"module {str(source)!r} is not a regular file") from None


def _start_shim(workspace: Workspace) -> str:
    """Run the shim's `start` as containerd does; return the socket's path."""
    words = [sys.executable, launcher.FLAGS, "-c", launcher.body()]
    words += ["-namespace", NAMESPACE, "-id", workspace.id, "-address", str(workspace.sockets / "none"), "start"]
    passed_on = (*ENVIRONMENT, CACHE_VARIABLE, VARIABLE)
    environment = {name: os.environ[name] for name in passed_on if name in os.environ}
    environment["PELAGOS_SOCKET_DIR"] = str(workspace.sockets)
    done = subprocess.run(
        words, cwd=workspace.bundle, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode:
        raise Internal(f"the shim did not start: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode().strip().removeprefix("unix://")


class _Session:
    """The life of one task, with its streams copied to and from ours."""

    def __init__(self, client: Client, workspace: Workspace, *, interactive: bool, tty: bool) -> None:
        self._client = client
        self._id = workspace.id
        self._bundle = str(workspace.bundle)
        self._stdin = workspace.fifo("stdin") if interactive else ""
        self._stdout = workspace.fifo("stdout")
        self._stderr = "" if tty else workspace.fifo("stderr")
        self._tty = tty
        self._loop = asyncio.get_running_loop()

    async def run(self, layers: list[MountMessage]) -> int:
        # Without O_NONBLOCK these would wait for a writer.
        outputs = [os.open(path, os.O_RDONLY | os.O_NONBLOCK) for path in (self._stdout, self._stderr) if path]
        await self._call(
            "Create",
            api.CreateTaskRequest(
                id=self._id,
                bundle=self._bundle,
                rootfs=layers,
                stdin=self._stdin,
                stdout=self._stdout,
                stderr=self._stderr,
                terminal=self._tty,
            ),
        )
        try:
            self._forward_signals()
            copies = [self._copy_output(fd, target) for fd, target in zip(outputs, (1, 2), strict=False)]
            if self._stdin:
                self._copy_input()
            if self._tty:
                await self._resize()
                self._loop.add_signal_handler(signal.SIGWINCH, lambda: self._loop.create_task(self._resize()))
            await self._call("Start", api.StartRequest(id=self._id))
            status = await self._call("Wait", api.WaitRequest(id=self._id))
            for copy in copies:
                await asyncio.to_thread(copy.join)
        finally:
            await self._delete()
        return int(status.exit_status)

    async def _call(self, method: str, request: Any) -> Any:  # noqa: ANN401 (the method decides the messages)
        return await self._client.call(method, request)

    async def _delete(self) -> None:
        with contextlib.suppress(PelagosError):
            await self._kill(signal.SIGKILL)
            await self._call("Wait", api.WaitRequest(id=self._id))
        await self._call("Delete", api.DeleteRequest(id=self._id))

    async def _kill(self, signum: int) -> None:
        await self._call("Kill", api.KillRequest(id=self._id, signal=signum))

    async def _resize(self) -> None:
        width, height = terminal.size()
        await self._call("ResizePty", api.ResizePtyRequest(id=self._id, width=width, height=height))

    def _send_signal(self, signum: int) -> None:
        async def send() -> None:
            with contextlib.suppress(PelagosError):  # it has ended by itself
                await self._kill(signum)

        self._loop.create_task(send())

    def _forward_signals(self) -> None:
        for signum in _FORWARDED:
            self._loop.add_signal_handler(signum, self._send_signal, signum)

    def _copy_output(self, source: int, target: int) -> threading.Thread:
        os.set_blocking(source, True)

        def broken() -> None:
            # As for a native program: whoever writes to a pipe that nobody reads dies of it.
            self._loop.call_soon_threadsafe(self._send_signal, signal.SIGPIPE)

        return _thread(lambda: _copy(source, target, broken))

    def _copy_input(self) -> None:
        target = os.open(self._stdin, os.O_WRONLY | os.O_NONBLOCK)
        os.set_blocking(target, True)

        def close() -> None:
            request = api.CloseIORequest(id=self._id, stdin=True)
            asyncio.run_coroutine_threadsafe(self._call("CloseIO", request), self._loop)

        def copy() -> None:
            _copy(0, target, lambda: None)
            os.close(target)
            self._loop.call_soon_threadsafe(close)

        _thread(copy)


def _thread(target: Callable[[], None]) -> threading.Thread:
    # A daemon thread: one that is stuck in our own stdin must not keep us from leaving.
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


def _copy(source: int, target: int, broken: Callable[[], None]) -> None:
    try:
        while data := os.read(source, _CHUNK):
            while data:
                data = data[os.write(target, data) :]
    except OSError:
        broken()
