"""A server whose program runs only while there are requests: the init process holds the listening socket.

Runs in the container's init process, for a program that does not hold the public socket itself:

1. The socket listens from Start on. No program runs, so none uses memory.
2. The first bytes of a client start the program on a loopback port that the kernel chooses. The bytes are buffered
   until the program listens.
3. Bytes are forwarded in both directions. Each client has a separate connection to the program.
4. If no byte was sent or received for the idle time, and no client waits for an answer, the clients are released: the
   program closes each connection on which no answer is in progress. When it has closed all, it gets the signal to
   exit. Clients stay connected, and their next bytes start the program again. HTTP/1.1 keeps no state after an
   answer, so a client does not notice. If an answer was in progress, the client is disconnected after it.
5. SIGTERM: no more clients are accepted. Waiting clients get their answers, then the program and the container end.

HTTP is not parsed. A client waits for an answer if it has sent the last byte. If the program does not close a released
connection, its answer only pauses, or an answer to a second request is still to come.
All modules must be imported before isolation: the container's root has no Python files.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
import threading
from collections.abc import Callable
from typing import Protocol

from pelagos_core import reasons
from pelagos_core.errors import FailedPrecondition, PelagosError, with_reason
from pelagos_core.linux import syscalls
from pelagos_core.plugin.relay import Client
from pelagos_core.ttrpc.acceptor import Acceptor

_MOST = 1000  # concurrent clients; the program accepts as many
_SPARE = 64  # descriptors that are not for clients
_BACKLOG = 1024
_SILENT_SECONDS = 600.0  # without a byte, after which a client that waits for an answer is disconnected
_END_SECONDS = 10.0  # for a program to exit after the signal; it has no requests at that time
_LOOK_SECONDS = 0.02  # between two checks of the clients, while the container ends
_QUEUE_SECONDS = 0.1  # after SIGTERM, to accept connections that are being established
_PAUSE_SECONDS = 2.0  # after SIGTERM: the longest pause in an answer, and the time to send a first request


class Program(Protocol):
    """An engine's program that was started."""

    def listening(self) -> int:
        """Wait until the program accepts connections; return its loopback port. Raises PelagosError if it exits."""

    def end(self, signum: int) -> None:
        """Send a signal to the program; no error if it has exited."""

    def wait(self) -> int:
        """Forward the program's output until it exits; return its exit code."""


class ScaleToZero:
    """A server whose program is started and ended as needed."""

    def __init__(self, start: Callable[[], Program], address: str, idle: float, graceful: int) -> None:
        """Arguments: start: starts the program. address: `ADDRESS:PORT` of the listening socket.

        idle: seconds without a byte after which the program is ended.
        graceful: the signal at which the program completes its requests and exits.
        """
        self._start = start
        self._address = address
        self._idle = idle
        self._graceful = graceful
        self._clients: set[Client] = set()
        self._engine: _Engine | None = None
        self._last: _Engine | None = None  # the previous program, which has got the signal to exit
        self._timer: asyncio.TimerHandle | None = None
        self._is_resting = False  # the clients were released, and no byte has been sent or received since

    def run(self, tell: Callable[[], None]) -> int:
        """Serve until SIGTERM, or until the program exits by itself; return the exit code.

        tell: called when the socket listens. Raises FailedPrecondition if it cannot listen.
        """
        listener = _listening(self._address)
        loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(self._serve(listener, tell))
        finally:
            loop.close()

    async def _serve(self, listener: socket.socket, tell: Callable[[], None]) -> int:
        loop = asyncio.get_running_loop()
        self._result: asyncio.Future[int] = loop.create_future()
        leaving: list[asyncio.Task[None]] = []
        self._is_leaving = False

        def leave() -> None:
            if not leaving:
                leaving.append(loop.create_task(self._leave(listener)))

        loop.add_signal_handler(signal.SIGTERM, leave)
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = max(1, min(_MOST, (descriptors - _SPARE) // 2))
        self._acceptor = Acceptor(listener, lambda: Client(self), most)
        tell()
        code = await self._result
        self._acceptor.close()
        for client in list(self._clients):
            client.close()
        await asyncio.sleep(0)
        if self._engine:
            self._engine.thread.join(_END_SECONDS)  # it forwards the program's last output
        return code

    def joined(self, client: Client) -> None:
        """Record that a client has connected."""
        self._clients.add(client)

    def left(self, client: Client) -> None:
        """Record that a client has disconnected."""
        self._clients.discard(client)
        self._acceptor.left()
        self.freed()

    def moved(self) -> None:
        """Record that bytes were received or sent: restart the idle time."""
        self._is_resting = False
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._idle, self._rest)

    def engine(self) -> _Engine:
        """The program for a client with buffered bytes; it is started if none runs."""
        if self._engine is None:
            self._engine = _Engine(self, self._start, self._last)
        return self._engine

    def freed(self) -> None:
        """End the program if its clients were released and none has a connection to it any more."""
        engine = self._engine
        if engine and self._is_resting and not any(client.is_served for client in self._clients):
            self._engine, self._last, self._is_resting = None, engine, False
            engine.end(self._graceful)

    def listens(self, engine: _Engine) -> None:
        """Connect the waiting clients to a program that accepts connections now."""
        for client in list(self._clients):
            if client.engine is engine:
                client.connect(engine.port)

    def ended(self, engine: _Engine, code: int) -> None:
        """Record that a program has exited. If it exited without our signal, the container ends too."""
        if engine is self._engine and not self._result.done():
            self._result.set_result(code)

    def _rest(self) -> None:
        """After the idle time: release the clients, so that the program can exit, unless one waits for an answer."""
        if self._engine is None or self._is_leaving:
            return
        for client in self._clients:
            if client.is_busy and client.silent_seconds > max(_SILENT_SECONDS, self._idle):
                client.close()
        self.moved()  # starts the timer for the next check
        if self._engine.port and not any(client.waits for client in self._clients):
            self._is_resting = True
            for client in self._clients:
                client.release()
            self.freed()

    async def _leave(self, listener: socket.socket) -> None:
        """On SIGTERM: let waiting clients get their answers, then end the program."""
        self._is_leaving, self._is_resting = True, False
        with contextlib.suppress(OSError):
            syscalls.refuse_connections(listener.fileno())
        await asyncio.sleep(_QUEUE_SECONDS)
        self._acceptor.close()
        while self._clients:
            for client in list(self._clients):
                if client.is_idle(_PAUSE_SECONDS):
                    client.close()
            await asyncio.sleep(_LOOK_SECONDS)
        if self._result.done():
            return
        if self._engine is None:
            self._result.set_result(0)
        else:
            self._engine.end(self._graceful)


class _Engine:
    """One run of the program. A thread starts it, forwards its output and reaps it.

    port: its loopback port; 0 until it accepts connections.
    """

    def __init__(self, server: ScaleToZero, start: Callable[[], Program], last: _Engine | None) -> None:
        """Arguments: last: the previous run; it must have ended before this one starts, so that only one runs."""
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._program: Program | None = None
        self._killing: asyncio.TimerHandle | None = None
        self._ending = 0  # the signal that `end` was called with
        self._starting = threading.Lock()  # for `end` and `_started`, so that one of them sends the signal
        self.port = 0
        self.thread = threading.Thread(target=self._run, args=(start, last), daemon=True)
        self.thread.start()

    def end(self, signum: int) -> None:
        """Send the signal to exit, and SIGKILL after _END_SECONDS. A program that has not started is not started."""
        with self._starting:
            self._ending = signum
            if self._program:
                self._program.end(signum)
        self._killing = self._loop.call_later(_END_SECONDS, self._kill)

    def _kill(self) -> None:
        if self._program:
            self._program.end(signal.SIGKILL)

    def _run(self, start: Callable[[], Program], last: _Engine | None) -> None:
        """Run in the thread. The thread must also start the program: PR_SET_PDEATHSIG acts when the thread exits."""
        if last:
            last.thread.join()
        if self._is_ending():
            self._call(self._ended, 0)
            return
        try:
            program = start()
            self._started(program)
            port = program.listening()
        except (PelagosError, OSError) as error:
            self._call(self._ended, self._failed(error))
            return
        self._call(self._listens, port)
        self._call(self._ended, program.wait())

    def _started(self, program: Program) -> None:
        with self._starting:
            self._program = program
            if self._ending:
                program.end(self._ending)

    def _failed(self, error: PelagosError | OSError) -> int:
        """The exit code if the program does not listen; the reason is printed, unless `end` was called before."""
        if self._is_ending():
            return 0
        text = with_reason(error.message, error.reason) if isinstance(error, PelagosError) else str(error)
        with contextlib.suppress(OSError):
            os.write(2, f"pelagos: {text}\n".encode())
        return 1

    def _is_ending(self) -> bool:
        """Whether `end` was called."""
        return bool(self._ending)

    def _listens(self, port: int) -> None:
        self.port = port
        self._server.listens(self)

    def _ended(self, code: int) -> None:
        if self._killing:
            self._killing.cancel()
        self._server.ended(self, code)

    def _call(self, function: Callable[[int], None], value: int) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the container ends
            self._loop.call_soon_threadsafe(function, value)


def _listening(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.strip("[]"), int(port)))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise FailedPrecondition(error.strerror or str(error), reasons.SERVE) from None
    return listener
