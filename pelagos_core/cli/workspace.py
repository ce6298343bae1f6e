"""The directory of one `pelagos run`, and the shim that runs in it."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from types import TracebackType
from typing import TYPE_CHECKING

from pelagos_core.cli import launcher
from pelagos_core.cli.progress import Progress
from pelagos_core.cli.waiting import Waiting
from pelagos_core.daemon import runs
from pelagos_core.errors import Internal
from pelagos_core.shim import zygote_request
from pelagos_core.shim.zygote_client import ABSENT, STARTED, Question

if TYPE_CHECKING:
    from subprocess import Popen

    from pelagos_core.cli.connection import Connection

NAMESPACE = "pelagos"
_END_SECONDS = 10.0  # to wait for a daemon to exit; afterwards it exits on its own
_LOG_BYTES = 64 << 10


class Workspace:
    """The directory of one run (see `runs`): its bundle, FIFOs and the shim's socket.

    The daemon runs while the command keeps it open. The end of its `with` block ends the daemon and its
    container, and removes the directory.
    """

    def __init__(self, place: str, run: runs.Run, waiting: Waiting) -> None:
        """place: from `runs.usable_place`. run: from `runs.new`. Raises AlreadyExists if its name is in use."""
        self.id = run.id
        self._run = run
        self._waiting = waiting
        self._asked: Question | None = None
        self._connection: Connection | None = None
        self._is_left = False
        self.directory, self._alive = runs.make(place, run)
        self.bundle = os.path.join(self.directory, "bundle")

    def prepare(self) -> None:
        """Create the directory's content. Separate from __init__, so that a full disk leaves no directory behind."""
        os.mkdir(self.bundle)

    def note(self, *, address: str = "", backend: str = "") -> None:
        """Add to the record of the run; an empty value is not changed."""
        run = self._run
        self._run = run._replace(address=address or run.address, backend=backend or run.backend)
        with contextlib.suppress(OSError):  # the program runs without it
            runs.record(self.directory, self._run)

    def make_output(self) -> str:
        """Create the file for a detached run's output; return its path. Raises OSError."""
        return runs.make_output(self.directory)

    def leave(self) -> None:
        """Detach: the daemon keeps running without this command."""
        self._is_left = True

    def start_shim(self) -> None:
        """Start the shim without waiting for it, so that the caller can do other work meanwhile."""
        path = zygote_request.socket_path()
        if path:
            request = zygote_request.own_request(_words("start", self.directory), _environment(self.directory))
            self._asked = Question(path, request, self.bundle)

    def connect(self) -> Connection:
        """Connect to the started shim. Raises Internal or OSError if its start has failed, Unavailable."""
        from pelagos_core.cli.connection import Connection  # takes 20 ms, in which the shim starts

        address = self._started_by_the_zygote() or self._executed()
        self._connection = Connection(address, self._waiting)
        self.note(address=address)
        return self._connection

    def _started_by_the_zygote(self) -> str:
        """The path of the daemon's socket; empty if there is no zygote, or it does not answer."""
        asked, self._asked = self._asked, None
        outcome, address = asked.answer() if asked else (ABSENT, b"")
        return _path(address) if outcome == STARTED else ""

    def _executed(self) -> str:
        """The path of the daemon's socket, from the program that starts a daemon without a zygote."""
        process = _shim("start", self.directory)
        ended = os.pidfd_open(process.pid)
        self._waiting.on_readable(ended, process.poll)
        try:
            self._waiting.until(lambda: process.returncode is not None)
        finally:
            self._waiting.forget(ended)
            os.close(ended)
            # Wait for it before the directory is removed: it creates its socket there.
            output, error = process.communicate()
        if process.returncode:
            raise Internal(f"the shim did not start: {error.decode(errors='replace').strip()}")
        return _path(output)

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._asked:
            self._asked.answer()  # the directory must not be removed while the zygote creates the socket in it
        os.close(self._alive)
        if self._is_left and self._connection:
            self._connection.close()
            return
        try:
            if self._connection:
                self._connection.wait_closed(_END_SECONDS)
                self._connection.close()
        finally:
            self._clean_up()

    def _clean_up(self) -> None:
        """Clean up in place of the daemon, if there was none or it was killed."""
        if os.path.exists(self.directory):
            clean_up(self.directory)


def clean_up(directory: str) -> None:
    """Remove what a killed daemon has left of a run: processes, control groups, the directory."""
    with contextlib.suppress(FileNotFoundError):  # no bundle exists yet, or another command removes it too
        _shim("delete", directory).communicate()
    runs.remove(directory)


class DaemonLog:
    """Reads the daemon's log, for events that the task API does not report."""

    def __init__(self, bundle: str, name: str, progress: Progress, waiting: Waiting) -> None:
        """Arguments: bundle: its path. name: the program's name, for `progress`."""
        self._name = name
        self._progress = progress
        self._waiting = waiting
        self._rest = b""
        path = os.path.join(bundle, "log")  # the path at which a shim opens it
        os.mkfifo(path, 0o600)
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        waiting.on_readable(self._fd, self._read)
        self.is_out_of_memory = False

    def close(self) -> None:
        """Read the rest of the log, and close it."""
        if self._fd >= 0:
            self._read()
            self._waiting.forget(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _LOG_BYTES)
        except BlockingIOError:
            return
        if not data:  # the daemon has ended
            self._waiting.forget(self._fd)
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line.decode("utf-8", "replace"))

    def _take(self, line: str) -> None:
        if compiling := re.search(r": compiling for backend '([^']+)'", line):
            self._progress.doing = f"compiling {self._name} for {compiling[1]}"
        elif line.endswith(': out of memory"'):
            self.is_out_of_memory = True


def _path(address: bytes) -> str:
    """The path in the address that `start` has printed."""
    return os.fsdecode(address).strip().removeprefix("unix://")


def _shim(action: str, directory: str) -> Popen[bytes]:
    """Execute the shim for one action, as containerd does, for the run of this directory."""
    import subprocess  # here: with a zygote, it is not needed

    return subprocess.Popen(
        [sys.executable, launcher.FLAGS, "-c", launcher.body(), *_words(action, directory)],
        cwd=os.path.join(directory, "bundle"),
        env=_environment(directory),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _words(action: str, directory: str) -> list[str]:
    """The shim's command line, without the program's name."""
    flags = {"namespace": NAMESPACE, "id": os.path.basename(directory), "address": os.path.join(directory, "none")}
    flags["owner"] = directory
    return [*(word for name, value in flags.items() for word in (f"-{name}", value)), action]


def _environment(directory: str) -> dict[str, str]:
    """The shim's environment: the part of this command's environment that a daemon needs."""
    found = zygote_request.kept_environment()
    found.pop("TTRPC_ADDRESS", None)  # a containerd must not get events of this run
    found["PELAGOS_SOCKET_DIR"] = directory  # a separate directory, which no containerd uses
    if zygote_request.VARIABLE in os.environ:
        found[zygote_request.VARIABLE] = os.environ[zygote_request.VARIABLE]
    return found
