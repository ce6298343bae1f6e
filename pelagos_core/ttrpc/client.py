"""An asyncio ttrpc client: concurrent calls over one connection."""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Any

from google.protobuf.message import Message

from pelagos_core.errors import Unavailable, from_fields
from pelagos_core.ttrpc import envelope
from pelagos_core.ttrpc.connection import ClientConnection, ResponseReceived
from pelagos_core.ttrpc.service import Service

log = logging.getLogger(__name__)


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
        answer = await asyncio.wait_for(self._protocol.request(data), timeout)
        return envelope.response(self._service, method, answer)

    async def wait_closed(self, seconds: float) -> None:
        """Return once the server has ended the connection, or `seconds` have passed."""
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
        self._pending: dict[int, asyncio.Future[bytes]] = {}
        self._transport: asyncio.Transport | None = None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def closed(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    async def request(self, data: bytes) -> bytes:
        if self._transport is None or self._transport.is_closing():
            raise Unavailable("the connection is closed")
        stream_id, frame = self._connection.send_request(data)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._pending[stream_id] = answer
        self._transport.write(frame)
        try:
            return await answer
        finally:
            self._pending.pop(stream_id, None)

    def data_received(self, data: bytes) -> None:
        for event in self._connection.receive_data(data):
            answer = self._pending.get(event.stream_id)
            if answer is None or answer.done():
                continue  # its caller has given up: ttrpc has no cancel frame
            if isinstance(event, ResponseReceived):
                answer.set_result(event.data)
            else:
                answer.set_exception(from_fields(event.code, event.message))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
        for answer in self._pending.values():
            if not answer.done():
                answer.set_exception(Unavailable("the connection was closed"))

    def close(self) -> None:
        if self._transport:
            self._transport.close()
