"""An engine's program that serves: it listens on a socket, and runs the guest for each request.

In the container's init process, whose child the program is, as in `program_backend`.
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
_KEPT_BYTES = 64 << 10  # of what a program prints before it listens; its error is at the end
_STDERR = 2


@dataclass(frozen=True, slots=True)
class ProgramServer:
    """How to run a program that serves.

    words: the program's path and its arguments. environment: its own. what: that is served, and where, for errors.
    listening: the line on its stderr, with its end, by which it says that it accepts connections; it is taken out
        of the output. No guest has run by then, so none has printed it. Its group `port` is where, for
        `scaled_to_zero`.
    failure: finds in its output what has kept it from that. hidden: what it says afterwards for a person at a terminal.
    """

    words: tuple[str, ...]
    environment: Mapping[str, str]
    what: str
    listening: re.Pattern[bytes]
    failure: re.Pattern[str]
    hidden: re.Pattern[bytes] = re.compile(rb"(?!)")

    def server(self) -> Server:
        """For `spawn`: the program runs from Start on."""
        return Server(self._run)

    def scaled_to_zero(self, address: str, idle: float, graceful: int) -> RestartingServer:
        """For `spawn`: the program runs while there are requests. By its words it listens on the loopback.

        address: `ADDRESS:PORT` for clients. idle: seconds without a request after which it ends.
        graceful: the signal for that.
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
        """Run it to its end; its exit code. Raises FailedPrecondition if it ends before it listens."""
        program = StartedProgram(self)
        program.listening()
        tell()
        return program.wait()


class StartedProgram:
    """A program that was started, see `scale_to_zero.Program`."""

    def __init__(self, server: ProgramServer) -> None:
        """Raises FailedPrecondition."""
        self._server = server
        self._is_reaped = False
        self._reaping = threading.Lock()  # held while it is signalled or reaped: a reaped one's number is not its own
        self._reader, writer = os.pipe()
        try:
            self._process = child.execute(list(server.words), server.environment, {_STDERR: writer}, end_with_init)
        except OSError as error:
            os.close(self._reader)
            raise FailedPrecondition(f"{server.what}: {error}", reasons.SERVE) from None
        finally:
            os.close(writer)

    def listening(self) -> int:
        """Read its stderr up to the line that says so; the port. Raises FailedPrecondition if it ends before."""
        said = b""
        while chunk := os.read(self._reader, _READ_BYTES):
            said = (said + chunk)[-_KEPT_BYTES:]
            if match := self._server.listening.search(said):
                _write(said[: match.start()] + said[match.end() :])
                return int(match.groupdict().get("port") or 0)
        code = self.wait()
        reason = fault(self._server.failure, said) or f"the server has ended with {code}"
        raise FailedPrecondition(f"{self._server.what}: {reason}", reasons.SERVE)

    def end(self, signum: int) -> None:
        """Send it a signal. One that has ended is no error."""
        with self._reaping, contextlib.suppress(ProcessLookupError):
            if not self._is_reaped:
                syscalls.tgkill(self._process.pid, signum)

    def wait(self) -> int:
        """Pass its output on until it ends; its exit code."""
        self._pass_on()
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)  # it may have closed its stderr long before
        with self._reaping:
            self._is_reaped = True
            return exit_code(self._process.reap())

    def _pass_on(self) -> None:
        """Copy its stderr to the container's, up to its end."""
        while chunk := os.read(self._reader, _READ_BYTES):
            _write(self._server.hidden.sub(b"", chunk))
        os.close(self._reader)


def _write(data: bytes) -> None:
    """Write to the container's stderr. If nothing reads that any more the program is not told: it would end."""
    view = memoryview(data)
    with contextlib.suppress(OSError):
        while view:
            view = view[os.write(_STDERR, view) :]
