"""Forwards bytes between the clients of a server and its program; each client has a separate connection to the program.

Runs on the event loop of `scale_to_zero`. The bytes are not parsed, so the relay cannot know whether an answer is
complete. The program knows: `Client.release` makes it close the connection as soon as no answer is in progress.
"""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Protocol

LOOPBACK = "127.0.0.1"
_WAITING_BYTES = 1 << 20  # buffered for one client while the program starts
# Sent before the end of input. A server skips an empty line before a request (RFC 9112, section 2.2). The HTTP library
# Hyper treats the end of its input as a disconnected client, and drops an answer that is in progress. While this line
# is unread, Hyper does not see the end, so it completes the answer first. An incomplete request ends with this line, as
# it would with the end of input.
_EMPTY_LINE = b"\r\n"
_PROMPT_SECONDS = 1.0  # within which a program closes a connection on which no answer is in progress


class Engine(Protocol):
    """A program. port: its port on the loopback interface; 0 until it listens."""

    port: int


class Server(Protocol):
    """The server: it accepts clients and starts a program for them."""

    def joined(self, client: Client) -> None:
        """Record that a client has connected."""

    def left(self, client: Client) -> None:
        """Record that a client has disconnected."""

    def moved(self) -> None:
        """Record that bytes were received or sent."""

    def freed(self) -> None:
        """Record that a released client is still connected, but has no connection to the program."""

    def engine(self) -> Engine:
        """The program for a client with buffered bytes. When it listens, it calls the client's `connect`."""


class Client(asyncio.Protocol):
    """A client's connection, and its counterpart to the program.

    waits: whether the client has sent the last byte, so that it waits for an answer.
    engine: the program that receives its bytes; None if there is none.
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
        """Whether it has a connection to the program, or is connecting."""
        return self._upstream is not None

    @property
    def is_busy(self) -> bool:
        """Whether it waits for an answer, or for the end of an answer that was in progress when it was released."""
        return self.waits or bool(self._upstream and self._upstream.released)

    def is_idle(self, seconds: float) -> bool:
        """Whether it waits for no answer. An answer that has begun may pause for `seconds`."""
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
        """The client has closed its sending side. Returns whether an answer may still follow."""
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
        """Connect to the program at this loopback port. After a release, the connection is made when it is complete."""
        if self._upstream is None:
            self._upstream = _Upstream(self)
            self._upstream.connect(port)

    def connected(self, transport: asyncio.Transport) -> None:
        """Forward the buffered bytes to the program."""
        waiting, self._waiting = self._waiting, b""
        transport.write(waiting)
        if not self._transport.is_closing():
            self._transport.resume_reading()
        if self._has_ended:
            transport.write_eof()

    def answered(self, data: bytes) -> None:
        """Forward bytes from the program to the client."""
        self.waits = False
        self._note()
        self._transport.write(data)

    def release(self) -> None:
        """Make the program close its connection after an answer in progress; later bytes go to a new connection.

        If an answer was in progress, the client's connection is closed after it: the answer may be cut, and the client
        must notice.
        """
        self.engine = None
        if self._upstream:
            self._upstream.release(is_ended=self._has_ended)

    def unserved(self, *, is_complete: bool) -> None:
        """The program has closed the connection. is_complete: after `release`, with no answer in progress."""
        if not is_complete:
            self.close()
            return
        self._upstream = None
        self.resume()
        if self.engine and self.engine.port:
            self.connect(self.engine.port)
        self._server.freed()

    def pause(self) -> None:
        """Stop reading from the client: the program reads more slowly than the client writes."""
        self._transport.pause_reading()

    def resume(self) -> None:
        """Read from the client again."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """Close the client's connection after all buffered bytes are sent."""
        self._transport.close()

    def _note(self) -> None:
        self._moved = time.monotonic()
        self._server.moved()


class _Upstream(asyncio.Protocol):
    """A connection to the program, for one client.

    transport: None until it is connected.
    released: when it was released, in monotonic seconds; 0 if it was not.
    """

    def __init__(self, client: Client) -> None:
        self._client: Client | None = client
        self._connecting: asyncio.Task[None] | None = None
        self._has_answered = False  # since the release
        self.transport: asyncio.Transport | None = None
        self.released = 0.0

    def connect(self, port: int) -> None:
        """Start to connect."""
        self._connecting = asyncio.get_running_loop().create_task(self._connect(port))

    def close(self) -> None:
        """Detach from the client and close."""
        self._client = None
        if self.transport:
            self.transport.close()

    def release(self, *, is_ended: bool) -> None:
        """Send the end of input, once. is_ended: whether it was sent already, because the client has sent its own."""
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
        """Report to the client that the program has closed the connection."""
        if self._client:
            is_prompt = bool(self.released) and time.monotonic() - self.released < _PROMPT_SECONDS
            self._client.unserved(is_complete=is_prompt and not self._has_answered and exc is None)
