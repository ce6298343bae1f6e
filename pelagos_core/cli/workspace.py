"""The directory of one `pelagos run` as its command has it, and the shim that is called there."""

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
_END_SECONDS = 10.0  # for a daemon to end; it goes on ending if it is not waited for
_LOG_BYTES = 64 << 10


class Workspace:
    """The directory of one run (see `runs`): its bundle, FIFOs and the shim's socket.

    While the command holds it open the daemon stays. Left, it ends the daemon and whatever that
    has, and is removed.
    """

    def __init__(self, place: str, run: runs.Run, waiting: Waiting) -> None:
        """place: from `runs.usable_place`. run: of `runs.new`. Raises AlreadyExists if its name is in use."""
        self.id = run.id
        self._run = run
        self._waiting = waiting
        self._asked: Question | None = None
        self._connection: Connection | None = None
        self._is_left = False
        self.directory, self._alive = runs.make(place, run)
        self.bundle = os.path.join(self.directory, "bundle")

    def prepare(self) -> None:
        """Make what is in it. Apart from __init__, so that a full disk leaves nothing."""
        os.mkdir(self.bundle)

    def note(self, *, address: str = "", backend: str = "") -> None:
        """Record more of the run; empty for what is not known yet."""
        run = self._run
        self._run = run._replace(address=address or run.address, backend=backend or run.backend)
        with contextlib.suppress(OSError):  # the program runs all the same
            runs.record(self.directory, self._run)

    def make_output(self) -> str:
        """Create the file of a detached run's output; its path. Raises OSError."""
        return runs.make_output(self.directory)

    def leave(self) -> None:
        """Leave the run to its daemon, which goes on without this command."""
        self._is_left = True

    def start_shim(self) -> None:
        """Have the shim started, and return at once: it takes some time, in which something else can be done."""
        path = zygote_request.socket_path()
        if path:
            request = zygote_request.own_request(_words("start", self.directory), _environment(self.directory))
            self._asked = Question(path, request, self.bundle)

    def connect(self) -> Connection:
        """Connect to the shim that was started. Raises Internal or OSError if it could not be, and Unavailable."""
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
        """The path of the daemon's socket, from the program that does it without a zygote, and leaves one."""
        process = _shim("start", self.directory)
        ended = os.pidfd_open(process.pid)
        self._waiting.on_readable(ended, process.poll)
        try:
            self._waiting.until(lambda: process.returncode is not None)
        finally:
            self._waiting.forget(ended)
            os.close(ended)
            # Before the directory is removed, in which it looks for a place.
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
            self._asked.answer()  # the directory must not go while the zygote looks for a place in it
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
        """What the daemon could not do: there was none, or something has killed it."""
        if os.path.exists(self.directory):
            clean_up(self.directory)


def clean_up(directory: str) -> None:
    """Remove what a daemon that was killed has left of a run: processes, control groups, the directory."""
    with contextlib.suppress(FileNotFoundError):  # no bundle was made yet, or another command is removing it too
        _shim("delete", directory).communicate()
    runs.remove(directory)


class DaemonLog:
    """The daemon's log, for what no call of the task API reports."""

    def __init__(self, bundle: str, name: str, progress: Progress, waiting: Waiting) -> None:
        """bundle: its path. name: of what is run, for `progress`."""
        self._name = name
        self._progress = progress
        self._waiting = waiting
        self._rest = b""
        path = os.path.join(bundle, "log")  # where a shim looks for it
        os.mkfifo(path, 0o600)
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        waiting.on_readable(self._fd, self._read)
        self.is_out_of_memory = False

    def close(self) -> None:
        """Read what is there, and no more."""
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
    """The path in what `start` prints."""
    return os.fsdecode(address).strip().removeprefix("unix://")


def _shim(action: str, directory: str) -> Popen[bytes]:
    """Execute the shim for one action, as containerd does, for the run of this directory."""
    import subprocess  # here: where there is a zygote, no run needs it

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
    """The shim's environment: of this command's what a daemon has."""
    found = zygote_request.kept_environment()
    found.pop("TTRPC_ADDRESS", None)  # of a containerd, which gets no events of this
    found["PELAGOS_SOCKET_DIR"] = directory  # an own place, so that no containerd is in the way
    if zygote_request.VARIABLE in os.environ:
        found[zygote_request.VARIABLE] = os.environ[zygote_request.VARIABLE]
    return found
