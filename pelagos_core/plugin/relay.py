"""Bytes between the clients of a server and its program: for each client a connection of its own to the program.

On an event loop, for `scale_to_zero`. Nothing here reads what it passes on. So whether an answer is complete is the
program's to say: `Client.release` has it close the connection once no answer is under way.
"""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Protocol

LOOPBACK = "127.0.0.1"
_WAITING_BYTES = 1 << 20  # of one client, while the program starts
# A server skips it before a request (RFC 9112, section 2.2). Hyper takes the end of its input for that of the client,
# and drops an answer that is under way. While this line is unread it does not see the end: the answer comes first.
# A request that its client has not completed by then is ended by it, as by any end.
_EMPTY_LINE = b"\r\n"
_PROMPT_SECONDS = 1.0  # in which a program closes a connection on which no answer is under way


class Engine(Protocol):
    """A program. port: where it listens on the loopback; 0 until it does."""

    port: int


class Server(Protocol):
    """What takes clients and has a program for them."""

    def joined(self, client: Client) -> None:
        """Record that a client has connected."""

    def left(self, client: Client) -> None:
        """Record that a client has gone."""

    def moved(self) -> None:
        """Record that a byte has come or gone."""

    def freed(self) -> None:
        """Record that a client that was released stays connected, without a connection to the program."""

    def engine(self) -> Engine:
        """The program for a client whose bytes wait. It calls `connect` of the client, once it listens."""


class Client(asyncio.Protocol):
    """A client's connection, and the one to the program that stands for it.

    waits: whether it waits for an answer. engine: the program that its bytes are for; None while it has none.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: asyncio.Transport
        self._waiting = b""
        self._has_ended = False
        self._moved = time.monotonic()
        self._upstream: _Upstream | None = None
        self.waits = False
        self.engine: Engine | None = None

    @property
    def silent_seconds(self) -> float:
        """Seconds since the last byte."""
        return time.monotonic() - self._moved

    @property
    def is_served(self) -> bool:
        """Whether it has a connection to the program, or is about to have one."""
        return self._upstream is not None

    @property
    def is_busy(self) -> bool:
        """Whether it waits for an answer, or for the end of one that was under way when it was released."""
        return self.waits or bool(self._upstream and self._upstream.released)

    def is_idle(self, seconds: float) -> bool:
        """Whether it has its answer, or none to wait for: an answer that has begun may pause for `seconds`."""
        return not self.waits and self.silent_seconds > seconds

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.joined(self)

    def data_received(self, data: bytes) -> None:
        self.waits = True
        self._note()
        if self._upstream and self._upstream.transport and not self._upstream.released:
            self._upstream.transport.write(data)
            return
        self._waiting += data
        if len(self._waiting) > _WAITING_BYTES:
            self._transport.pause_reading()
        if self.engine is None:
            self.engine = self._server.engine()
            if self.engine.port:
                self.connect(self.engine.port)

    def eof_received(self) -> bool:
        """The client sends no more. Returns whether an answer may still come."""
        self._has_ended = True
        if self._upstream and self._upstream.transport:
            self._upstream.transport.write_eof()
        return self.waits

    def pause_writing(self) -> None:
        if self._upstream and self._upstream.transport:
            self._upstream.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._upstream and self._upstream.transport:
            self._upstream.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.waits = False
        upstream, self._upstream = self._upstream, None
        if upstream:
            upstream.close()
        self._server.left(self)

    def connect(self, port: int) -> None:
        """Connect to the program, which listens at this port of the loopback; after a release, once that is done."""
        if self._upstream is None:
            self._upstream = _Upstream(self)
            self._upstream.connect(port)

    def connected(self, transport: asyncio.Transport) -> None:
        """Pass on what has waited."""
        waiting, self._waiting = self._waiting, b""
        transport.write(waiting)
        if not self._transport.is_closing():
            self._transport.resume_reading()
        if self._has_ended:
            transport.write_eof()

    def answered(self, data: bytes) -> None:
        """Pass on what the program has sent."""
        self.waits = False
        self._note()
        self._transport.write(data)

    def release(self) -> None:
        """Have the program close its connection, after an answer that is under way; the next bytes are for another one.

        If an answer was under way, the client is closed after it: it may have been cut, and that has to be seen.
        """
        self.engine = None
        if self._upstream:
            self._upstream.release(is_ended=self._has_ended)

    def unserved(self, *, is_complete: bool) -> None:
        """The program has closed the connection. is_complete: upon `release`, and no answer was under way."""
        if not is_complete:
            self.close()
            return
        self._upstream = None
        self.resume()
        if self.engine and self.engine.port:
            self.connect(self.engine.port)
        self._server.freed()

    def pause(self) -> None:
        """The program is slower than the client."""
        self._transport.pause_reading()

    def resume(self) -> None:
        """The program takes bytes again."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """Close it, after what is still to be sent."""
        self._transport.close()

    def _note(self) -> None:
        self._moved = time.monotonic()
        self._server.moved()


class _Upstream(asyncio.Protocol):
    """A connection to the program, for one client.

    transport: None before it is connected. released: since when (monotonic seconds) it is to be closed; 0: it is not.
    """

    def __init__(self, client: Client) -> None:
        self._client: Client | None = client
        self._connecting: asyncio.Task[None] | None = None
        self._has_answered = False  # since the release
        self.transport: asyncio.Transport | None = None
        self.released = 0.0

    def connect(self, port: int) -> None:
        """Begin to connect."""
        self._connecting = asyncio.get_running_loop().create_task(self._connect(port))

    def close(self) -> None:
        """Leave the client alone from now on, and close."""
        self._client = None
        if self.transport:
            self.transport.close()

    def release(self, *, is_ended: bool) -> None:
        """Send the end, once. is_ended: whether the client's own has been sent."""
        if self.released or self.transport is None:
            return
        self.released = time.monotonic()
        if not is_ended:
            self.transport.write(_EMPTY_LINE)
            self.transport.write_eof()

    async def _connect(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            await loop.sock_connect(sock, (LOOPBACK, port))
            await loop.create_connection(lambda: self, sock=sock)
        except OSError:
            sock.close()
            if self._client:
                self._client.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self._client is None:
            transport.close()
        else:
            self._client.connected(transport)

    def data_received(self, data: bytes) -> None:
        self._has_answered |= bool(self.released)
        if self._client:
            self._client.answered(data)

    def pause_writing(self) -> None:
        if self._client:
            self._client.pause()

    def resume_writing(self) -> None:
        if self._client:
            self._client.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """The program has closed it."""
        if self._client:
            is_prompt = bool(self.released) and time.monotonic() - self.released < _PROMPT_SECONDS
            self._client.unserved(is_complete=is_prompt and not self._has_answered and exc is None)
