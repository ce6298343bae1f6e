"""Connects a container's process to this command's streams, signals and terminal."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from google.protobuf.message import Message

from pelagos_core.api import task_pb2 as api
from pelagos_core.cli import exit_codes, terminal, voice
from pelagos_core.cli.connection import TASK, Answer, Connection
from pelagos_core.cli.signals import Signals
from pelagos_core.cli.waiting import Waiting

_CHUNK = 64 << 10
_SIGPIPE_SECONDS = 1.0  # between SIGPIPE and SIGKILL

# The requests about one process.
_Request = TypeVar(
    "_Request", api.WaitRequest, api.StartRequest, api.ResizePtyRequest, api.KillRequest, api.CloseIORequest
)


class Stdio(NamedTuple):
    """The paths of a process's FIFOs; empty for a stream that it does not have."""

    stdin: str
    stdout: str
    stderr: str

    @classmethod
    def make(cls, directory: str, *, interactive: bool, tty: bool) -> Stdio:
        """Create the FIFOs of a process in a directory. Raises OSError."""
        wanted = {"stdin": interactive, "stdout": True, "stderr": not tty}
        paths = {name: os.path.join(directory, name) if needed else "" for name, needed in wanted.items()}
        for path in filter(None, paths.values()):
            os.mkfifo(path, 0o600)
        return cls(**paths)


class Attached:
    """One process from its creation to its exit: the container's first, or an exec."""

    def __init__(
        self, connection: Connection, waiting: Waiting, signals: Signals, container_id: str, exec_id: str = ""
    ) -> None:
        """Arguments: exec_id: empty for the container's first process."""
        self._connection = connection
        self._waiting = waiting
        self._signals = signals
        self._container_id = container_id
        self._exec_id = exec_id
        self._tty = False
        self._copying = 0  # outputs that are still open
        self._lost: OSError | None = None

    def run(self, stdio: Stdio, create: Callable[[], object], started: Callable[[], object], *, tty: bool) -> int:
        """Create and start the process, wait until it exits, and return its exit code.

        create: creates the process with these streams.
        started: called when the process runs, before any output is copied.
        tty: whether its output is a terminal.
        Raises the PelagosError of a failed call.
        """
        self._tty = tty
        # Without O_NONBLOCK, open(2) would wait for a writer.
        outputs = [os.open(path, os.O_RDONLY | os.O_NONBLOCK) for path in (stdio.stdout, stdio.stderr) if path]
        create()
        with contextlib.ExitStack() as stack:
            has_input = self._take_input(stdio.stdin, stack)
            if tty:
                self._connection.wait_for(self._resize())
            ended = self._send("Wait", self._about(api.WaitRequest()))
            self._connection.wait_for(self._send("Start", self._about(api.StartRequest())))
            if not has_input:
                self._take_input(stdio.stdin, stack)  # Start creates the process of an exec
            # Before any output is shown: a user that sees it may send a signal to the program.
            self._signals.pass_on(self._pass_on)
            started()
            for output, target in zip(outputs, (1, 2), strict=False):
                self._copy_output(output, target)
            status = self._connection.wait_for(ended)
            self._signals.pass_on(None)  # our output may have no reader: a signal must be able to end this command
            self._waiting.until(lambda: not self._copying)
        if self._lost:
            voice.complain(f"the program's output is lost: {self._lost.strerror}")
            return exit_codes.FAILED
        return int(status.exit_status)

    def _about(self, request: _Request) -> _Request:
        request.id, request.exec_id = self._container_id, self._exec_id
        return request

    def _send(self, method: str, request: Message) -> Answer:
        return self._connection.send(TASK, method, request)

    def _resize(self) -> Answer:
        width, height = terminal.size()
        return self._send("ResizePty", self._about(api.ResizePtyRequest(width=width, height=height)))

    def _pass_on(self, signum: int) -> None:
        """Send the program a signal. The answer is ignored: the program may have exited."""
        if self._tty and signum == signal.SIGWINCH:
            self._resize()  # the kernel sends SIGWINCH to the processes of the program's own terminal
        else:
            self._send("Kill", self._about(api.KillRequest(signal=signum)))

    def _copy_output(self, source: int, target: int) -> None:
        os.set_blocking(source, True)
        self._copying += 1

        def broken(error: OSError) -> None:
            self._waiting.post(lambda: self._lose_output(error))

        def copy() -> None:
            try:
                _copy(source, target, broken)
                # Drop the rest: a program that ignores SIGPIPE would otherwise block on a full pipe.
                while os.read(source, _CHUNK):
                    pass
            finally:
                self._waiting.post(self._end_output)

        _thread(copy)

    def _end_output(self) -> None:
        self._copying -= 1

    def _lose_output(self, error: OSError) -> None:
        """End the program after an output is closed, as SIGPIPE ends a native program that writes to a closed pipe."""
        if error.errno != errno.EPIPE:
            self._lost = self._lost or error
        self._pass_on(signal.SIGPIPE)
        self._waiting.after(_SIGPIPE_SECONDS, lambda: self._pass_on(signal.SIGKILL))

    def _take_input(self, path: str, stack: contextlib.ExitStack) -> bool:
        """Start to copy stdin, with the terminal in raw mode. Returns False if the program has no open stdin yet."""
        if not path or not self._copy_input(path):
            return False
        if self._tty:
            stack.enter_context(terminal.raw())
        return True

    def _copy_input(self, path: str) -> bool:
        """Start to copy stdin. Returns False if it has no reader: by a policy, or before the process exists."""
        try:
            target = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:  # fifo(7): no process has it open for reading
                raise
            return False
        os.set_blocking(target, True)

        def close() -> None:
            self._send("CloseIO", self._about(api.CloseIORequest(stdin=True)))

        def copy() -> None:
            _copy(0, target, lambda _: None)
            os.close(target)
            self._waiting.post(close)

        _thread(copy)
        return True


def _thread(target: Callable[[], Any]) -> None:
    # A daemon thread: a thread that blocks on our own streams must not keep this process from exiting.
    threading.Thread(target=target, daemon=True).start()


def _copy(source: int, target: int, broken: Callable[[OSError], None]) -> None:
    try:
        while data := os.read(source, _CHUNK):
            while data:
                data = data[os.write(target, data) :]
    except OSError as error:
        broken(error)
