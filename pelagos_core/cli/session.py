"""The life of one task, as `pelagos run` conducts it: its calls, and its streams, which are copied to and from ours."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import click
from google.protobuf.message import Message

from pelagos_core.api import inspection_pb2
from pelagos_core.api import task_pb2 as api
from pelagos_core.api.types_pb2 import Mount as MountMessage
from pelagos_core.cli import exit_codes, terminal
from pelagos_core.cli.connection import INSPECTION, TASK, Answer
from pelagos_core.cli.mount_option import Mount
from pelagos_core.cli.signals import Signals
from pelagos_core.cli.waiting import Waiting
from pelagos_core.cli.workspace import Workspace

_CHUNK = 64 << 10
_SIGPIPE_SECONDS = 1.0  # for a program to see that nothing reads its output


class Session:
    """One task, from Create to its end. What is left of it then goes with its daemon."""

    def __init__(
        self, workspace: Workspace, waiting: Waiting, signals: Signals, *, interactive: bool, tty: bool
    ) -> None:
        """In a workspace whose shim was started. Raises what starting it has come to, and Unavailable."""
        self._connection = workspace.connect()
        self._workspace = workspace
        self._id = workspace.id
        self._waiting = waiting
        self._signals = signals
        self._stdin = workspace.fifo("stdin") if interactive else ""
        self._stdout = workspace.fifo("stdout")
        self._stderr = "" if tty else workspace.fifo("stderr")
        self._tty = tty
        self._copying = 0  # outputs whose end has not come
        self._lost: OSError | None = None

    def run(self, layers: tuple[Mount, ...], created: Callable[[], None]) -> int:
        """Create, start, wait; the exit code. created: called when there is a program that may write.

        Raises the PelagosError of the call that fails.
        """
        # Without O_NONBLOCK these would wait for a writer.
        outputs = [os.open(path, os.O_RDONLY | os.O_NONBLOCK) for path in (self._stdout, self._stderr) if path]
        self._create(layers)
        created()
        with contextlib.ExitStack() as stack:
            if self._stdin and self._copy_input() and self._tty:
                stack.enter_context(terminal.raw())
            if self._tty:
                self._connection.wait_for(self._resize())
            ended = self._send("Wait", api.WaitRequest(id=self._id))
            started = self._send("Start", api.StartRequest(id=self._id))
            asked = self._connection.send(INSPECTION, "Backend", inspection_pb2.BackendRequest(id=self._id))
            self._connection.wait_for(started)
            self._signals.pass_on(self._pass_on)
            # Not before: whoever has seen output of the program may send a signal that is meant for it.
            for output, target in zip(outputs, (1, 2), strict=False):
                self._copy_output(output, target)
            self._workspace.note(backend=self._connection.wait_for(asked).backend)  # for `pelagos ps`
            status = self._connection.wait_for(ended)
            self._signals.pass_on(None)  # nothing may read our output any more: this command can be ended still
            self._waiting.until(lambda: not self._copying)
        if self._lost:
            click.echo(f"pelagos: its output is lost: {self._lost.strerror}", err=True)
            return exit_codes.FAILED
        return int(status.exit_status)

    def _create(self, layers: tuple[Mount, ...]) -> None:
        request = api.CreateTaskRequest(
            id=self._id,
            bundle=self._workspace.bundle,
            rootfs=[MountMessage(type=m.type, source=m.source, options=m.options) for m in layers],
            stdin=self._stdin,
            stdout=self._stdout,
            stderr=self._stderr,
            terminal=self._tty,
        )
        self._connection.wait_for(self._send("Create", request))

    def _send(self, method: str, request: Message) -> Answer:
        return self._connection.send(TASK, method, request)

    def _resize(self) -> Answer:
        width, height = terminal.size()
        return self._send("ResizePty", api.ResizePtyRequest(id=self._id, width=width, height=height))

    def _pass_on(self, signum: int) -> None:
        """Give the program a signal. What comes of it is not looked at: it may have ended by itself."""
        if self._tty and signum == signal.SIGWINCH:
            self._resize()  # the kernel sends SIGWINCH to the processes of the program's own terminal
        else:
            self._send("Kill", api.KillRequest(id=self._id, signal=signum))

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
            self._send("CloseIO", api.CloseIORequest(id=self._id, stdin=True))

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
