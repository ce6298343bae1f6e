"""containerd's part, played by `pelagos run`: a bundle, FIFOs, the shim, and its task API."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import click

from pelagos_core.api import inspection_pb2
from pelagos_core.api import task_pb2 as api
from pelagos_core.api.types_pb2 import Mount as MountMessage
from pelagos_core.cli import exit_codes, module_file, terminal
from pelagos_core.cli.progress import Progress
from pelagos_core.cli.signals import Signals
from pelagos_core.cli.workspace import INSPECTION, DaemonLog, Workspace, clean_up
from pelagos_core.config import size
from pelagos_core.daemon import runs
from pelagos_core.errors import PelagosError
from pelagos_core.ttrpc.client import Client


class Mount(NamedTuple):
    """An entry of `mounts` in config.json. `oci.Mount` is what a daemon makes of it, and more to import."""

    destination: str
    type: str
    source: str
    options: tuple[str, ...]


_DEV = Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=64k"))
_CHUNK = 64 << 10
_SIGPIPE_SECONDS = 1.0  # for a program to see that nothing reads its output


@dataclass(frozen=True, slots=True)
class Container:
    """What to run. Either `rootfs` (a directory) or `module` (an open file and its name) is given.

    memory: the limit in bytes, for what is said when it is too low; None without one.
    """

    rootfs: Path | None
    module: tuple[int, str] | None
    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    mounts: tuple[Mount, ...]
    annotations: dict[str, str]
    resources: Mapping[str, object] = field(default_factory=dict)
    memory: int | None = None
    terminal: bool = False

    async def run(self, uid: int, command: tuple[str, ...], *, interactive: bool) -> int:
        """Run it to its end through a shim of its own; return its exit code.

        uid: of the user, outside of a user namespace that was made for this. command: for `pelagos ps`.
        A deadly signal ends it at any moment: before there is a program by itself, then as the program takes it.
        Raises PelagosError or OSError if it could not be run.
        """
        signals = Signals()  # before anything is made that they would leave behind
        work = asyncio.ensure_future(self._run(uid, command, signals, interactive=interactive))
        await asyncio.wait((work, signals.ended), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError, PelagosError, OSError):
            return await work
        return exit_codes.of_signal(signals.ended.result())

    async def _run(self, uid: int, command: tuple[str, ...], signals: Signals, *, interactive: bool) -> int:
        for directory in runs.abandoned(uid):
            clean_up(directory)
        async with Workspace(runs.usable_place(uid), command) as workspace:
            workspace.prepare()
            with contextlib.closing(Progress(f"loading the engines for {command[0]}").keep_up()) as progress:
                log = DaemonLog(workspace, command[0], progress)
                try:
                    client = await workspace.connect()
                    await self._write_bundle(workspace)
                    progress.doing = f"preparing {command[0]}"
                    layers = [MountMessage(type=m.type, source=m.source, options=m.options) for m in self.layers]
                    session = _Session(client, workspace, signals, interactive=interactive, tty=self.terminal)
                    return await session.run(layers, progress.close)
                finally:
                    progress.close()
                    log.close()
                    if self.memory and log.is_out_of_memory:
                        click.echo(f"pelagos: out of memory: its limit is {size.describe(self.memory)}", err=True)

    def _environment(self) -> tuple[str, ...]:
        if not self.terminal or any(variable.startswith("TERM=") for variable in self.env):
            return self.env
        return (f"TERM={os.environ.get('TERM', 'xterm')}", *self.env)

    @property
    def layers(self) -> tuple[Mount, ...]:
        """The mounts that make the root file system; none if that is in the bundle."""
        return (Mount("/", "bind", str(self.rootfs), ("rbind", "rw")),) if self.rootfs is not None else ()

    def _own_mounts(self) -> tuple[Mount, ...]:
        """A /dev, as ctr and docker give one; but no directory is made for it among the user's files."""
        return (_DEV,) if self.rootfs is None or (self.rootfs / "dev").is_dir() else ()

    def config(self) -> dict[str, object]:
        """Its config.json."""
        return {
            "ociVersion": "1.1.0",
            "process": {
                "args": self.args,
                "env": self._environment(),
                "cwd": self.cwd,
                "user": {"uid": 0, "gid": 0},
                "terminal": self.terminal,
            },
            "root": {"path": "rootfs"},
            "mounts": [mount._asdict() for mount in (*self._own_mounts(), *self.mounts)],
            "annotations": self.annotations,
            "linux": {
                "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")],
                "resources": self.resources,
            },
        }

    async def _write_bundle(self, workspace: Workspace) -> None:
        rootfs = workspace.bundle / "rootfs"
        rootfs.mkdir()
        if self.module is not None:
            file, name = self.module
            await module_file.copy(file, str(rootfs / name), f"module {name!r}")
        (workspace.bundle / "config.json").write_text(json.dumps(self.config()))


class _Session:
    """The life of one task, with its streams copied to and from ours."""

    def __init__(self, client: Client, workspace: Workspace, signals: Signals, *, interactive: bool, tty: bool) -> None:
        self._client = client
        self._workspace = workspace
        self._id = workspace.id
        self._bundle = str(workspace.bundle)
        self._signals = signals
        self._stdin = workspace.fifo("stdin") if interactive else ""
        self._stdout = workspace.fifo("stdout")
        self._stderr = "" if tty else workspace.fifo("stderr")
        self._tty = tty
        self._loop = asyncio.get_running_loop()
        self._lost: OSError | None = None

    async def run(self, layers: list[MountMessage], created: Callable[[], None]) -> int:
        """Create, start, wait, delete; the exit code. created: called when there is a program that may write."""
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
        created()
        await self._note_backend()
        with contextlib.ExitStack() as stack:
            copies = [self._copy_output(fd, target) for fd, target in zip(outputs, (1, 2), strict=False)]
            if self._stdin and self._copy_input() and self._tty:
                stack.enter_context(terminal.raw())
            if self._tty:
                await self._resize()
            await self._call("Start", api.StartRequest(id=self._id))
            self._signals.pass_on(self._pass_on)
            status = await self._call("Wait", api.WaitRequest(id=self._id))
            self._signals.pass_on(None)  # nothing may read our output any more: this command can be ended still
            for ended in copies:
                await ended.wait()
        await self._call("Delete", api.DeleteRequest(id=self._id))
        if self._lost:
            click.echo(f"pelagos: its output is lost: {self._lost.strerror}", err=True)
            return exit_codes.FAILED
        return int(status.exit_status)

    async def _note_backend(self) -> None:
        """Record which backend runs it, for `pelagos ps`."""
        said = await self._client.of(INSPECTION).call("Backend", inspection_pb2.BackendRequest(id=self._id))
        self._workspace.note(backend=said.backend)

    async def _call(self, method: str, request: Any) -> Any:  # noqa: ANN401 (the method decides the messages)
        return await self._client.call(method, request)

    async def _resize(self) -> None:
        width, height = terminal.size()
        await self._call("ResizePty", api.ResizePtyRequest(id=self._id, width=width, height=height))

    def _pass_on(self, signum: int) -> None:
        # The kernel sends SIGWINCH to the processes of the program's own terminal.
        resized = self._tty and signum == signal.SIGWINCH
        call = self._resize() if resized else self._call("Kill", api.KillRequest(id=self._id, signal=signum))

        async def send() -> None:
            with contextlib.suppress(PelagosError):  # it has ended by itself
                await call

        self._loop.create_task(send())

    def _copy_output(self, source: int, target: int) -> asyncio.Event:
        os.set_blocking(source, True)
        ended = asyncio.Event()

        def broken(error: OSError) -> None:
            self._loop.call_soon_threadsafe(self._lose_output, error)

        def copy() -> None:
            try:
                _copy(source, target, broken)
                # What is left over is dropped: a program that ignores SIGPIPE is not to wait for ever.
                while os.read(source, _CHUNK):
                    pass
            finally:
                with contextlib.suppress(RuntimeError):  # this command has been ended meanwhile
                    self._loop.call_soon_threadsafe(ended.set)

        _thread(copy)
        return ended

    def _lose_output(self, error: OSError) -> None:
        """As for a native program: a process that writes to a pipe that nothing reads dies of it."""
        if error.errno != errno.EPIPE:
            self._lost = self._lost or error
        self._pass_on(signal.SIGPIPE)
        self._loop.call_later(_SIGPIPE_SECONDS, self._pass_on, signal.SIGKILL)

    def _copy_input(self) -> bool:
        """Copy our input to the program, if it has one. False if a policy has taken it away."""
        try:
            target = os.open(self._stdin, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:  # fifo(7): nothing has it open for reading
                raise
            return False
        os.set_blocking(target, True)

        def close() -> None:
            request = api.CloseIORequest(id=self._id, stdin=True)
            asyncio.run_coroutine_threadsafe(self._call("CloseIO", request), self._loop)

        def copy() -> None:
            _copy(0, target, lambda _: None)
            os.close(target)
            self._loop.call_soon_threadsafe(close)

        _thread(copy)
        return True


def _thread(target: Callable[[], None]) -> None:
    # A daemon thread: one that is stuck in our own streams must not keep us from leaving.
    threading.Thread(target=target, daemon=True).start()


def _copy(source: int, target: int, broken: Callable[[OSError], None]) -> None:
    try:
        while data := os.read(source, _CHUNK):
            while data:
                data = data[os.write(target, data) :]
    except OSError as error:
        broken(error)
