"""A process of a container that has this command's streams, signals and terminal."""

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
_SIGPIPE_SECONDS = 1.0  # for a program to see that nothing reads its output

# The requests about one process.
_Request = TypeVar(
    "_Request", api.WaitRequest, api.StartRequest, api.ResizePtyRequest, api.KillRequest, api.CloseIORequest
)


class Stdio(NamedTuple):
    """The paths of a process' FIFOs; empty for a stream that it does not have."""

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
    """One process, the container's first or an exec's, from its creation to its end."""

    def __init__(
        self, connection: Connection, waiting: Waiting, signals: Signals, container_id: str, exec_id: str = ""
    ) -> None:
        """exec_id: empty for the container's first process."""
        self._connection = connection
        self._waiting = waiting
        self._signals = signals
        self._container_id = container_id
        self._exec_id = exec_id
        self._tty = False
        self._copying = 0  # outputs whose end has not come
        self._lost: OSError | None = None

    def run(self, stdio: Stdio, create: Callable[[], object], started: Callable[[], object], *, tty: bool) -> int:
        """Create, start, wait; the exit code.

        create: has the process created with these streams. started: called once it runs, before any of its
        output is copied. tty: whether its output is
        a terminal's. Raises the PelagosError of the call that fails.
        """
        self._tty = tty
        # Without O_NONBLOCK these would wait for a writer.
        outputs = [os.open(path, os.O_RDONLY | os.O_NONBLOCK) for path in (stdio.stdout, stdio.stderr) if path]
        create()
        with contextlib.ExitStack() as stack:
            has_input = self._take_input(stdio.stdin, stack)
            if tty:
                self._connection.wait_for(self._resize())
            ended = self._send("Wait", self._about(api.WaitRequest()))
            self._connection.wait_for(self._send("Start", self._about(api.StartRequest())))
            if not has_input:
                self._take_input(stdio.stdin, stack)  # the process of an exec is made by Start
            # Before its output: a user that has seen that may send a signal that is meant for it.
            self._signals.pass_on(self._pass_on)
            started()
            for output, target in zip(outputs, (1, 2), strict=False):
                self._copy_output(output, target)
            status = self._connection.wait_for(ended)
            self._signals.pass_on(None)  # nothing may read our output any more: this command can be ended still
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
        """Give the program a signal. What comes of it is not looked at: it may have ended by itself."""
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
                # What is left over is dropped: a program that ignores SIGPIPE is not to wait for ever.
                while os.read(source, _CHUNK):
                    pass
            finally:
                self._waiting.post(self._end_output)

        _thread(copy)

    def _end_output(self) -> None:
        self._copying -= 1

    def _lose_output(self, error: OSError) -> None:
        """As for a native program: a process that writes to a pipe that nothing reads dies of it."""
        if error.errno != errno.EPIPE:
            self._lost = self._lost or error
        self._pass_on(signal.SIGPIPE)
        self._waiting.after(_SIGPIPE_SECONDS, lambda: self._pass_on(signal.SIGKILL))

    def _take_input(self, path: str, stack: contextlib.ExitStack) -> bool:
        """Copy our input, and make the keys of our terminal the program's. False if it has no input, or not yet."""
        if not path or not self._copy_input(path):
            return False
        if self._tty:
            stack.enter_context(terminal.raw())
        return True

    def _copy_input(self, path: str) -> bool:
        """Copy our input to the program. False if nothing reads it: by a policy, or before there is a process."""
        try:
            target = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:  # fifo(7): nothing has it open for reading
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
    # A daemon thread: one that is stuck in our own streams must not keep us from leaving.
    threading.Thread(target=target, daemon=True).start()


def _copy(source: int, target: int, broken: Callable[[OSError], None]) -> None:
    try:
        while data := os.read(source, _CHUNK):
            while data:
                data = data[os.write(target, data) :]
    except OSError as error:
        broken(error)
