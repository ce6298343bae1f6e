"""An asyncio ttrpc client: concurrent calls over one connection."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any

from google.protobuf.message import Message

from pelagos_core.errors import PelagosError, Unavailable, from_fields
from pelagos_core.ttrpc import envelope
from pelagos_core.ttrpc.connection import ClientConnection, ResponseReceived
from pelagos_core.ttrpc.service import Service

Answered = Callable[[bytes | PelagosError], None]
"""Called once with the data of a response, or with the error."""


class Client:
    """A connection to a ttrpc server, for the methods of one service."""

    def __init__(self, protocol: _ClientProtocol, service: Service) -> None:
        self._protocol = protocol
        self._service = service

    @classmethod
    async def connect(cls, path: str, service: Service) -> Client:
        """Connect to the Unix socket at `path`. Raises Unavailable."""
        loop = asyncio.get_running_loop()
        try:
            _, protocol = await loop.create_unix_connection(_ClientProtocol, path)
        except OSError as error:
            raise Unavailable(f"socket {path!r}: {error.strerror or error}") from None
        return cls(protocol, service)

    def of(self, service: Service) -> Client:
        """The same connection, for the methods of another service."""
        return Client(self._protocol, service)

    @property
    def closed(self) -> bool:
        """Whether the connection has ended."""
        return self._protocol.closed

    async def call(self, method: str, request: Message | None = None, timeout: float | None = None) -> Any:  # noqa: ANN401 (the method decides the message)
        """Call a method of the service and return its response message.

        timeout: seconds until asyncio.TimeoutError is raised; also sent to the server.
        Raises the PelagosError of the server's status; Unavailable if the connection ends.
        """
        data = envelope.request(self._service, method, request, timeout)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        stream_id = self._protocol.send(data, functools.partial(_resolve, answer))
        try:
            waiting = asyncio.wait_for(answer, timeout) if timeout else answer
            return envelope.response(self._service, method, await waiting)
        finally:
            self._protocol.forget(stream_id)

    def ask(self, method: str, request: Message, answered: Callable[[PelagosError | None], None]) -> None:
        """Call a method without a task, and ignore its response.

        answered: called once, on the event loop: with the server's error, with Unavailable if the connection ends,
        or with None. Raises Unavailable if the connection has ended already; `answered` is not called then.
        """

        def handle(answer: bytes | PelagosError) -> None:
            error = answer if isinstance(answer, PelagosError) else None
            try:
                if isinstance(answer, bytes):
                    envelope.response(self._service, method, answer)
            except PelagosError as refusal:
                error = refusal
            answered(error)

        self._protocol.send(envelope.request(self._service, method, request), handle)

    async def wait_closed(self, seconds: float) -> None:
        """Wait until the server has closed the connection, at most `seconds`."""
        await asyncio.wait([self._protocol.lost], timeout=seconds)

    def close(self) -> None:
        """End the connection; pending calls raise Unavailable."""
        self._protocol.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _ClientProtocol(asyncio.Protocol):
    def __init__(self) -> None:
        self._connection = ClientConnection()
        self._pending: dict[int, Answered] = {}
        self._transport: asyncio.Transport | None = None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def closed(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self, data: bytes, answered: Answered) -> int:
        """Open a stream with a request; return its id."""
        if self._transport is None or self._transport.is_closing():
            raise Unavailable("the connection is closed")
        stream_id, frame = self._connection.send_request(data)
        self._pending[stream_id] = answered
        self._transport.write(frame)
        return stream_id

    def forget(self, stream_id: int) -> None:
        """Forget a stream that is answered, or whose caller has stopped waiting: ttrpc has no cancel frame."""
        self._pending.pop(stream_id, None)

    def data_received(self, data: bytes) -> None:
        for event in self._connection.receive_data(data):
            answered = self._pending.pop(event.stream_id, None)
            if answered is None:
                continue  # its caller has stopped waiting
            if isinstance(event, ResponseReceived):
                answered(event.data)
            else:
                answered(from_fields(event.code, event.message))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
        pending, self._pending = self._pending, {}
        for answered in pending.values():
            answered(Unavailable("the connection was closed"))

    def close(self) -> None:
        if self._transport:
            self._transport.close()


def _resolve(future: asyncio.Future[bytes], answer: bytes | PelagosError) -> None:
    if future.done():
        return
    if isinstance(answer, PelagosError):
        future.set_exception(answer)
    else:
        future.set_result(answer)
