"""An asyncio ttrpc server over a listening Unix socket.

Requests of all connections run concurrently, each as a task. Invalid bytes from a peer
end its connection at most, never the server.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from google.protobuf.message import DecodeError, Message

from pelagos_core.api import ttrpc_pb2
from pelagos_core.errors import (
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    PelagosError,
    ResourceExhausted,
    Unimplemented,
    from_fields,
    to_status,
)
from pelagos_core.ttrpc.acceptor import Acceptor, most
from pelagos_core.ttrpc.connection import RequestReceived, ServerConnection
from pelagos_core.ttrpc.frames import MAX_DATA
from pelagos_core.ttrpc.service import Service

log = logging.getLogger(__name__)

MAX_REQUESTS = 1024  # at a time on one connection; containerd has one Wait and a few others
Around = Callable[[ttrpc_pb2.Request, Message], AbstractContextManager[None]]
_UCRED = struct.Struct("3i")  # unix(7), SO_PEERCRED: pid, uid, gid


class Server:
    """Serves a set of services on one listening socket."""

    def __init__(self, services: Iterable[Service], around: Around | None = None) -> None:
        """around: returns a context manager for a request and its decoded message; the method runs in its block."""
        self._around = around
        self._services = {service.name: service for service in services}
        self._acceptor: Acceptor | None = None
        self._connections: set[_Connection] = set()

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._connections)

    def start(self, listener: socket.socket) -> None:
        """Begin to accept on `listener`, which is bound and listening. In a running event loop."""
        self._acceptor = Acceptor(listener, lambda: _Connection(self), most())

    def stop_accepting(self) -> None:
        """Close the listener; open connections are not affected."""
        if self._acceptor:
            self._acceptor.close()

    async def close(self, seconds: float) -> None:
        """Wait up to `seconds` for pending requests to be answered; then close everything."""
        self.stop_accepting()
        pending = {task for connection in self._connections for task in connection.tasks}
        if pending:
            await asyncio.wait(pending, timeout=seconds)
        for connection in list(self._connections):
            connection.close()
        # asyncio closes them in the next iteration of its loop, before the steps that follow this call.
        await asyncio.sleep(0)

    async def call(self, request: ttrpc_pb2.Request) -> Message:
        """Find the method, decode the request, run the method. Raises the method's errors."""
        service = self._services.get(request.service)
        if service is None:
            raise Unimplemented(f"service {request.service}")
        method = service.method(request.method)
        if method.handler is None:
            raise Unimplemented(f"method {request.method}")
        message = method.request()
        try:
            message.ParseFromString(request.payload)
        except DecodeError:
            raise InvalidArgument(f"method {request.method}: the payload is not a {method.request.__name__}") from None
        if self._around is None:
            return await method.handler(message)
        with self._around(request, message):
            return await method.handler(message)

    def joined(self, connection: _Connection) -> None:
        self._connections.add(connection)

    def left(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        if self._acceptor:
            self._acceptor.left()


class _Connection(asyncio.Protocol):
    """One connection: decodes requests, runs them, writes responses."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._protocol = ServerConnection()
        self._transport: asyncio.Transport
        self.tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if _peer_uid(transport.get_extra_info("socket")) != os.geteuid():
            log.warning("a connection from another user was refused")
            transport.abort()
            return
        self._server.joined(self)

    def data_received(self, data: bytes) -> None:
        for event in self._protocol.receive_data(data):
            if not isinstance(event, RequestReceived):
                self._answer(event.stream_id, _refusal(from_fields(event.code, event.message)))
            elif len(self.tasks) >= MAX_REQUESTS:
                self._answer(event.stream_id, _refusal(ResourceExhausted(f"over {MAX_REQUESTS} requests at a time")))
            else:
                task = asyncio.ensure_future(self._serve(event))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)

    # Flow control: a client that sends and does not read must not fill the daemon's memory with answers.
    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.left(self)

    def close(self) -> None:
        self._transport.close()

    async def _serve(self, event: RequestReceived) -> None:
        try:
            response = ttrpc_pb2.Response(payload=(await self._run(event)).SerializeToString())
        except Exception as error:
            if not isinstance(error, PelagosError | OSError):
                log.exception("a request failed by an internal error")
            response = _refusal(error)
        self._answer(event.stream_id, response)

    async def _run(self, event: RequestReceived) -> Message:
        request = ttrpc_pb2.Request()
        try:
            request.ParseFromString(event.data)
        except DecodeError:
            raise InvalidArgument("the frame's data is not a ttrpc request") from None
        log.debug("< %s", request.method)
        if request.timeout_nano <= 0:
            return await self._server.call(request)
        limit = request.timeout_nano / 1e9
        # The call continues after its time limit: a timeout of the client does not undo the request.
        call = asyncio.ensure_future(self._server.call(request))
        done, _ = await asyncio.wait({call}, timeout=limit)
        if not done:
            call.add_done_callback(_forget)
            raise DeadlineExceeded(f"method {request.method}: not done in {limit:g} s")
        return call.result()

    def _answer(self, stream_id: int, response: ttrpc_pb2.Response) -> None:
        if self._transport.is_closing():
            return
        data = response.SerializeToString()
        if len(data) > MAX_DATA:
            data = _refusal(Internal(f"the answer of {len(data)} bytes is too large")).SerializeToString()
        self._transport.write(self._protocol.send_response(stream_id, data))


def _forget(task: asyncio.Future[Message]) -> None:
    """Retrieve the result of a call that no task awaits, so that asyncio does not log an error."""
    if not task.cancelled() and task.exception():
        log.info("a call failed after its time limit: %s", task.exception())


def _refusal(error: BaseException) -> ttrpc_pb2.Response:
    code, message = to_status(error)
    return ttrpc_pb2.Response(status=ttrpc_pb2.Status(code=code, message=message))


def _peer_uid(sock: socket.socket) -> int:
    _pid, uid, _gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return int(uid)
