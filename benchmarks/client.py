"""A minimal client in containerd's role: makes calls to a shim and acknowledges its events.

It has one thread and no event loop, because an expensive client would distort the figures.
Tasks are scripts: generators that yield calls and receive the answers.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections.abc import Callable, Generator, Iterable
from pathlib import Path

from pelagos_core.api import ttrpc_pb2
from pelagos_core.ttrpc.connection import ClientConnection, RequestReceived, ResponseReceived, ServerConnection

SERVICE = "containerd.task.v2.Task"
CHUNK = 1 << 16
ANSWER_SECONDS = 120.0  # a call may include a compilation

# A script yields a method and the bytes of its request. It receives the bytes of the response.
Call = tuple[str, bytes]
Script = Generator[Call, bytes, None]


class CallFailed(Exception):
    """The shim has answered with an error, or not at all."""


class Wire:
    """Waits for bytes on all sockets and calls their handlers."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def register(self, reader: socket.socket, ready: Callable[[], None]) -> None:
        """Call `ready` whenever the socket is readable."""
        self._selector.register(reader, selectors.EVENT_READ, ready)

    def unregister(self, reader: socket.socket) -> None:
        """Stop watching a socket."""
        self._selector.unregister(reader)

    def close(self) -> None:
        """Close every socket that is still registered."""
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    def wait(self, seconds: float) -> bool:
        """Wait for readable sockets and call their handlers. Returns False if there was none within `seconds`."""
        events = self._selector.select(seconds)
        for key, _ in events:
            key.data()
        return bool(events)


class EventsService:
    """containerd's events service: counts and acknowledges the shims' events."""

    def __init__(self, path: Path, wire: Wire) -> None:
        self.address = str(path)
        self.count = 0
        self._wire = wire
        self._acknowledgement = ttrpc_pb2.Response().SerializeToString()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.address)
        self._listener.listen(64)
        wire.register(self._listener, self._accept)

    def until(self, count: int, seconds: float = 5.0) -> None:
        """Wait until `count` events have arrived. Raises CallFailed."""
        while self.count < count:
            if not self._wire.wait(seconds):
                raise CallFailed(f"{self.count} of {count} events have arrived")

    def _accept(self) -> None:
        peer, _ = self._listener.accept()
        connection = ServerConnection()
        self._wire.register(peer, lambda: self._receive(peer, connection))

    def _receive(self, peer: socket.socket, connection: ServerConnection) -> None:
        try:
            data = peer.recv(CHUNK)
        except ConnectionError:
            data = b""
        if not data:
            self._wire.unregister(peer)
            peer.close()
        for event in connection.receive_data(data):
            if isinstance(event, RequestReceived):
                self.count += 1
                with contextlib.suppress(ConnectionError):  # the shim was killed
                    peer.sendall(connection.send_response(event.stream_id, self._acknowledgement))


class Client:
    """A connection to one shim."""

    def __init__(self, path: str, wire: Wire) -> None:
        self._wire = wire
        self._connection = ClientConnection()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._active: dict[int, Script] = {}
        self._answered: list[tuple[Script, bytes]] = []
        wire.register(self._socket, self._receive)

    def run(self, scripts: Iterable[Script], at_a_time: int = 1) -> None:
        """Run scripts until their ends, `at_a_time` concurrently. Raises CallFailed, or any exception of a script."""
        waiting = iter(scripts)
        free = at_a_time
        while True:
            while free and (script := next(waiting, None)):
                free -= self._advance(script, None)
            if not self._active:
                return
            if not self._wire.wait(ANSWER_SECONDS):
                raise CallFailed(f"no answer in {ANSWER_SECONDS:g} s")
            answered, self._answered = self._answered, []
            for script, payload in answered:
                free += not self._advance(script, payload)

    def call(self, method: str, request: bytes) -> bytes:
        """Make one call. Raises CallFailed."""
        answers = []

        def script() -> Script:
            answers.append((yield method, request))

        self.run([script()])
        return answers[0]

    def close(self) -> None:
        """Close the connection."""
        self._wire.unregister(self._socket)
        self._socket.close()

    def _advance(self, script: Script, answer: bytes | None) -> bool:
        """Send an answer to a script, and its next call to the shim. Returns whether there was a next call."""
        try:
            method, payload = next(script) if answer is None else script.send(answer)
        except StopIteration:
            return False
        envelope = ttrpc_pb2.Request(service=SERVICE, method=method, payload=payload)
        stream_id, frame = self._connection.send_request(envelope.SerializeToString())
        self._active[stream_id] = script
        self._socket.sendall(frame)
        return True

    def _receive(self) -> None:
        data = self._socket.recv(CHUNK)
        if not data:
            self._wire.unregister(self._socket)
            raise CallFailed("the shim closed its connection")
        for event in self._connection.receive_data(data):
            script = self._active.pop(event.stream_id)
            if not isinstance(event, ResponseReceived):
                raise CallFailed(event.message)
            answer = ttrpc_pb2.Response.FromString(event.data)
            if answer.status.code:
                raise CallFailed(f"{answer.status.message} (code {answer.status.code})")
            self._answered.append((script, answer.payload))
