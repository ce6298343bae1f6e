"""A server whose program runs only while there are requests: the init process holds the listening socket.

In the container's init process, in place of a program that listens itself:

1. The socket listens from Start on. No program runs, and none of its memory is taken.
2. The first bytes of a client start the program, at a port of the loopback that the kernel chooses. They wait for it.
3. Bytes are passed on in both directions, for each client by a connection of its own to the program.
4. When no byte has come or gone for the idle time, and no client waits for an answer, the program has to close its
   connections; it does so with each on which no answer is under way. When it has closed all, it is told to end.
   Clients stay connected; the next bytes of one start another program. HTTP/1.1 has no state beyond an answer, so a
   client cannot tell. One whose answer was under way is closed after it.
5. SIGTERM: no further client is taken. Those that wait get their answers, then the program ends, and the container.

Nothing here reads HTTP. That a client waits is told by which byte was the last, the client's or the program's. That an
answer only pauses, or that of a second request is to come, is told by a connection that the program does not close.
All modules must be imported before: the container's root has none.
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

_MOST = 1000  # clients at a time, as many as the program itself takes
_SPARE = 64  # descriptors that are not for clients
_BACKLOG = 1024
_SILENT_SECONDS = 600.0  # after which a client whose answer does not go on, and that sends nothing, keeps no program
_END_SECONDS = 10.0  # for a program that is told to end; no request is left by then
_LOOK_SECONDS = 0.02  # between two looks at the clients, while the container ends
_QUEUE_SECONDS = 0.1  # for clients whose connections had begun at SIGTERM
_PAUSE_SECONDS = 2.0  # at SIGTERM, in an answer that has begun, and for a client that has sent nothing yet


class Program(Protocol):
    """An engine's program that was started."""

    def listening(self) -> int:
        """Wait until it accepts connections; the port on the loopback. Raises PelagosError, and it has ended then."""

    def end(self, signum: int) -> None:
        """Send it a signal. One that has ended is no error."""

    def wait(self) -> int:
        """Pass its output on until it ends; its exit code."""


class ScaleToZero:
    """One server of this kind."""

    def __init__(self, start: Callable[[], Program], address: str, idle: float, graceful: int) -> None:
        """start: starts the program. address: `ADDRESS:PORT` of the listening socket. idle: seconds without a byte.

        graceful: the signal at which the program ends its requests, and itself.
        """
        self._start = start
        self._address = address
        self._idle = idle
        self._graceful = graceful
        self._clients: set[Client] = set()
        self._engine: _Engine | None = None
        self._last: _Engine | None = None  # the one that was told to end
        self._timer: asyncio.TimerHandle | None = None
        self._is_resting = False  # no byte has come or gone since the clients were released

    def run(self, tell: Callable[[], None]) -> int:
        """Serve until the container is to end; the exit code. tell: called once the socket listens.

        Raises FailedPrecondition if it cannot listen.
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
            self._engine.thread.join(_END_SECONDS)  # its last output is passed on
        return code

    def joined(self, client: Client) -> None:
        """Record that a client has connected."""
        self._clients.add(client)

    def left(self, client: Client) -> None:
        """Record that a client has gone."""
        self._clients.discard(client)
        self._acceptor.left()
        self.freed()

    def moved(self) -> None:
        """Record that a byte has come or gone: the idle time begins anew."""
        self._is_resting = False
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._idle, self._rest)

    def engine(self) -> _Engine:
        """The program for a client whose bytes wait; it is started if there is none."""
        if self._engine is None:
            self._engine = _Engine(self, self._start, self._last)
        return self._engine

    def freed(self) -> None:
        """End the program, if its clients were to be released for that, and none is left."""
        engine = self._engine
        if engine and self._is_resting and not any(client.is_served for client in self._clients):
            self._engine, self._last, self._is_resting = None, engine, False
            engine.end(self._graceful)

    def listens(self, engine: _Engine) -> None:
        """Record that a program accepts connections."""
        for client in list(self._clients):
            if client.engine is engine:
                client.connect(engine.port)

    def ended(self, engine: _Engine, code: int) -> None:
        """Record that a program has ended. With one that was not told to end, the container ends."""
        if engine is self._engine and not self._result.done():
            self._result.set_result(code)

    def _rest(self) -> None:
        """Release the clients, upon which the program ends, unless one waits for an answer."""
        if self._engine is None or self._is_leaving:
            return
        for client in self._clients:
            if client.is_busy and client.silent_seconds > max(_SILENT_SECONDS, self._idle):
                client.close()
        self.moved()  # for the next look
        if self._engine.port and not any(client.waits for client in self._clients):
            self._is_resting = True
            for client in self._clients:
                client.release()
            self.freed()

    async def _leave(self, listener: socket.socket) -> None:
        """SIGTERM: answer those that wait, and end."""
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
    """One run of the program. A thread waits for it, and passes its output on.

    port: 0 until it accepts connections.
    """

    def __init__(self, server: ScaleToZero, start: Callable[[], Program], last: _Engine | None) -> None:
        """last: the one before, whose end is waited for: two do not run at a time."""
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._program: Program | None = None
        self._killing: asyncio.TimerHandle | None = None
        self._ending = 0  # the signal, once it is told to end
        self._starting = threading.Lock()  # of `end` and `_started`: one of them sends the signal
        self.port = 0
        self.thread = threading.Thread(target=self._run, args=(start, last), daemon=True)
        self.thread.start()

    def end(self, signum: int) -> None:
        """Tell it to end; kill it if it does not. It need not have started yet, and does not then."""
        with self._starting:
            self._ending = signum
            if self._program:
                self._program.end(signum)
        self._killing = self._loop.call_later(_END_SECONDS, self._kill)

    def _kill(self) -> None:
        if self._program:
            self._program.end(signal.SIGKILL)

    def _run(self, start: Callable[[], Program], last: _Engine | None) -> None:
        """In the thread, with the start: a program ends with the thread that has started it (PR_SET_PDEATHSIG)."""
        if last:
            last.thread.join()
        if self._is_told():
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
        """The exit code of a program that does not listen; the reason is told, unless it was told to end."""
        if self._is_told():
            return 0
        text = with_reason(error.message, error.reason) if isinstance(error, PelagosError) else str(error)
        with contextlib.suppress(OSError):
            os.write(2, f"pelagos: {text}\n".encode())
        return 1

    def _is_told(self) -> bool:
        """Whether it was told to end."""
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
