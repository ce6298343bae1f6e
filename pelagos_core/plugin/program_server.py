"""An engine's program that is a server: it listens on a socket, and runs the guest for each request.

This code runs in the container's init process. The program is its child, as in `program_backend`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pelagos_core import reasons
from pelagos_core.errors import FailedPrecondition
from pelagos_core.linux import child, syscalls
from pelagos_core.plugin.hookspecs import RestartingServer, Server
from pelagos_core.plugin.program import fault
from pelagos_core.plugin.program_backend import end_with_init, exit_code
from pelagos_core.plugin.scale_to_zero import ScaleToZero

_READ_BYTES = 64 << 10
_KEPT_BYTES = 64 << 10  # of a program's output before it listens; an error is at its end
_STDERR = 2


@dataclass(frozen=True, slots=True)
class ProgramServer:
    """How to run a program that is a server.

    words: the program's path and its arguments.
    environment: its environment variables.
    what: what is served and where, for error messages.
    listening: matches the line on its stderr, with the newline, that it prints when it accepts connections. The
        line is removed from the output. No guest has run before, so a guest cannot have printed it. For
        `scaled_to_zero`, its group `port` is the port.
    failure: matches, in its output, the reason for which it does not listen (group 1).
    hidden: matches later output that is removed, such as a hint for users at a terminal.
    """

    words: tuple[str, ...]
    environment: Mapping[str, str]
    what: str
    listening: re.Pattern[bytes]
    failure: re.Pattern[str]
    hidden: re.Pattern[bytes] = re.compile(rb"(?!)")

    def server(self) -> Server:
        """The server to return from `spawn` if the program runs all the time, from Start on."""
        return Server(self._run)

    def scaled_to_zero(self, address: str, idle: float, graceful: int) -> RestartingServer:
        """The server to return from `spawn` if the program runs only while there are requests.

        The words must make the program listen on the loopback interface.

        address: `ADDRESS:PORT` for clients.
        idle: seconds without a request after which the program is ended.
        graceful: the signal that ends it.
        """

        def run(tell: Callable[[], None], again: Callable[[], None]) -> int:
            starts = itertools.count()

            def start() -> StartedProgram:
                if next(starts):
                    again()
                return StartedProgram(self)

            try:
                return ScaleToZero(start, address, idle, graceful).run(tell)
            except FailedPrecondition as error:
                raise FailedPrecondition(f"{self.what}: {error.message}", error.reason) from None

        return RestartingServer(run)

    def _run(self, tell: Callable[[], None]) -> int:
        """Run the program until it exits; return its exit code. Raises FailedPrecondition if it does not listen."""
        program = StartedProgram(self)
        program.listening()
        tell()
        return program.wait()


class StartedProgram:
    """A running program; implements `scale_to_zero.Program`."""

    def __init__(self, server: ProgramServer) -> None:
        """Execute the program. Raises FailedPrecondition if that fails."""
        self._server = server
        self._is_reaped = False
        self._reaping = threading.Lock()  # held to signal or reap it: after reaping, the pid may be reused
        self._reader, writer = os.pipe()
        try:
            self._process = child.execute(list(server.words), server.environment, {_STDERR: writer}, end_with_init)
        except OSError as error:
            os.close(self._reader)
            raise FailedPrecondition(f"{server.what}: {error}", reasons.SERVE) from None
        finally:
            os.close(writer)

    def listening(self) -> int:
        """Wait until the program listens; return its port, or 0. Raises FailedPrecondition if it exits before."""
        output = b""
        while chunk := os.read(self._reader, _READ_BYTES):
            output = (output + chunk)[-_KEPT_BYTES:]
            if match := self._server.listening.search(output):
                _write(output[: match.start()] + output[match.end() :])
                return int(match.groupdict().get("port") or 0)
        code = self.wait()
        reason = fault(self._server.failure, output) or f"the server has exited with {code}"
        raise FailedPrecondition(f"{self._server.what}: {reason}", reasons.SERVE)

    def end(self, signum: int) -> None:
        """Send a signal to the program; no error if it has exited."""
        with self._reaping, contextlib.suppress(ProcessLookupError):
            if not self._is_reaped:
                syscalls.tgkill(self._process.pid, signum)

    def wait(self) -> int:
        """Forward the program's stderr until it exits; return its exit code."""
        self._forward()
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)  # it may close its stderr before it exits
        with self._reaping:
            self._is_reaped = True
            return exit_code(self._process.reap())

    def _forward(self) -> None:
        """Copy the program's stderr to the container's until it is closed."""
        while chunk := os.read(self._reader, _READ_BYTES):
            _write(self._server.hidden.sub(b"", chunk))
        os.close(self._reader)


def _write(data: bytes) -> None:
    """Write to the container's stderr. If it is closed, drop the data: with a closed pipe the program would exit."""
    view = memoryview(data)
    with contextlib.suppress(OSError):
        while view:
            view = view[os.write(_STDERR, view) :]
