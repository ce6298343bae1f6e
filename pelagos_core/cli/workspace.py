"""The directory of one `pelagos run` as its command has it, and the shim that is called there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from pelagos_core.api import inspection_pb2
from pelagos_core.api import task_pb2 as api
from pelagos_core.cli import launcher
from pelagos_core.cli.progress import Progress
from pelagos_core.daemon import runs
from pelagos_core.errors import Internal
from pelagos_core.shim import zygote_request
from pelagos_core.task import INSPECTION as INSPECTION_NAME
from pelagos_core.task import NAMES
from pelagos_core.ttrpc.client import Client
from pelagos_core.ttrpc.service import Service

NAMESPACE = "pelagos"
TASK = Service(NAMES[0], api.DESCRIPTOR.services_by_name["Task"])
INSPECTION = Service(INSPECTION_NAME, inspection_pb2.DESCRIPTOR.services_by_name["Inspection"])
_END_SECONDS = 10.0  # for a daemon to end; it goes on ending if it is not waited for
_LOG_BYTES = 64 << 10


class Workspace:
    """The directory of one run (see `runs`): its bundle, FIFOs and the shim's socket.

    While the command holds it open the daemon stays. Left, it ends the daemon and whatever that
    has, and is removed.
    """

    def __init__(self, place: str, command: tuple[str, ...]) -> None:
        """place: from `runs.usable_place`. command: what is run, for `pelagos ps`."""
        self.id = f"{runs.PREFIX}{os.urandom(4).hex()}"
        self._run = runs.Run(self.id, os.getpid(), command, time.time())
        self._client: Client | None = None
        self.directory, self._alive = runs.make(place, self.id)
        self.bundle = Path(self.directory, "bundle")

    def prepare(self) -> None:
        """Make what is in it. Apart from __init__, so that a full disk leaves nothing."""
        self.bundle.mkdir()
        runs.record(self.directory, self._run)

    def note(self, *, address: str = "", backend: str = "") -> None:
        """Record more of the run; empty for what is not known yet."""
        run = self._run
        self._run = replace(run, address=address or run.address, backend=backend or run.backend)
        with contextlib.suppress(OSError):  # the program runs all the same
            runs.record(self.directory, self._run)

    def fifo(self, name: str) -> str:
        """Make a FIFO; return its path."""
        path = os.path.join(self.directory, name)
        os.mkfifo(path, 0o600)
        return path

    async def connect(self) -> Client:
        """Start the shim and connect to it."""
        # Its directory must not go while the shim looks for a place in it, so this is not given up.
        starting = asyncio.ensure_future(asyncio.to_thread(_start_shim, self))
        try:
            address = await asyncio.shield(starting)
        finally:
            await asyncio.wait([starting])
        self._client = await Client.connect(address, TASK)
        self.note(address=address)
        return self._client

    async def __aenter__(self) -> Workspace:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._alive)
        if self._client:
            await self._client.wait_closed(_END_SECONDS)
            self._client.close()
        self._clean_up()

    def _clean_up(self) -> None:
        """What the daemon could not do: there was none, or something has killed it."""
        if os.path.exists(self.directory):
            clean_up(self.directory)


def clean_up(directory: str) -> None:
    """Remove what a daemon that was killed has left of a run: processes, control groups, the directory."""
    with contextlib.suppress(FileNotFoundError):  # no bundle was made yet, or another command is removing it too
        _call_shim("delete", directory)
    runs.remove(directory)


class DaemonLog:
    """The daemon's log, for what no call of the task API tells."""

    def __init__(self, workspace: Workspace, name: str, progress: Progress) -> None:
        self._name = name
        self._progress = progress
        self._loop = asyncio.get_running_loop()
        self._rest = b""
        path = str(workspace.bundle / "log")  # where a shim looks for it
        os.mkfifo(path, 0o600)
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._loop.add_reader(self._fd, self._read)
        self.is_out_of_memory = False

    def close(self) -> None:
        """Read what is there, and no more."""
        if self._fd >= 0:
            self._read()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _LOG_BYTES)
        except BlockingIOError:
            return
        if not data:  # the daemon has ended
            self._loop.remove_reader(self._fd)
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line.decode("utf-8", "replace"))

    def _take(self, line: str) -> None:
        if compiling := re.search(r": compiling for backend '([^']+)'", line):
            self._progress.doing = f"compiling {self._name} for {compiling[1]}"
        elif line.endswith(': out of memory"'):
            self.is_out_of_memory = True


def _start_shim(workspace: Workspace) -> str:
    """Run the shim's `start` as containerd does; return the socket's path."""
    done = _call_shim("start", workspace.directory)
    if done.returncode:
        raise Internal(f"the shim did not start: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode().strip().removeprefix("unix://")


def _call_shim(action: str, directory: str) -> subprocess.CompletedProcess[bytes]:
    """Run the shim for one action, as containerd does, for the run of this directory."""
    words = [sys.executable, launcher.FLAGS, "-c", launcher.body(), "-namespace", NAMESPACE]
    words += ["-id", os.path.basename(directory), "-address", os.path.join(directory, "none"), "-owner", directory]
    passed_on = zygote_request.kept_environment()
    passed_on.pop("TTRPC_ADDRESS", None)  # events are containerd's, and no containerd is in the way:
    passed_on["PELAGOS_SOCKET_DIR"] = directory  # an own place
    if zygote_request.VARIABLE in os.environ:
        passed_on[zygote_request.VARIABLE] = os.environ[zygote_request.VARIABLE]
    bundle = os.path.join(directory, "bundle")
    return subprocess.run(
        [*words, action], cwd=bundle, env=passed_on, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
