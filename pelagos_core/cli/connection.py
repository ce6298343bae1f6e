"""The connection of a command to the daemon of a run: calls of its task API, without asyncio."""

from __future__ import annotations

import _socket
from types import TracebackType
from typing import Any

from google.protobuf.message import Message

from pelagos_core.api import inspection_pb2, runs_pb2
from pelagos_core.api import task_pb2 as api
from pelagos_core.cli.waiting import Waiting
from pelagos_core.daemon import runs
from pelagos_core.errors import PelagosError, Unavailable, from_fields
from pelagos_core.task import INSPECTION as INSPECTION_NAME
from pelagos_core.task import NAMES
from pelagos_core.ttrpc import envelope
from pelagos_core.ttrpc.connection import ClientConnection, ResponseReceived, StreamRefused
from pelagos_core.ttrpc.service import Service

TASK = Service(NAMES[0], api.DESCRIPTOR.services_by_name["Task"])
INSPECTION = Service(INSPECTION_NAME, inspection_pb2.DESCRIPTOR.services_by_name["Inspection"])
RUNS = Service(runs.SERVICE, runs_pb2.DESCRIPTOR.services_by_name["Runs"])
_SECONDS = 2.0  # for a daemon to read a request; a stopped daemon does not
_READ_BYTES = 64 << 10


class Answer:
    """The answer to a call; it may be pending."""

    def __init__(self, service: Service, method: str) -> None:
        self._service = service
        self._method = method
        self._data: bytes | PelagosError | None = None

    @property
    def has_come(self) -> bool:
        """Whether the answer or an error has arrived."""
        return self._data is not None

    def take(self, data: bytes | PelagosError) -> None:
        """Set the answer: a frame's data, or an error."""
        self._data = data

    def message(self) -> Any:  # noqa: ANN401 (the method decides the message)
        """The response message. Raises the PelagosError of the status; Unavailable if the connection has ended."""
        assert self._data is not None
        if isinstance(self._data, PelagosError):
            raise self._data
        return envelope.response(self._service, self._method, self._data)


class Connection:
    """A connection to the ttrpc server of a daemon, for concurrent calls. Answers are read while `waiting` waits."""

    def __init__(self, path: str, waiting: Waiting) -> None:
        """path: of the server's socket. Raises Unavailable."""
        self._waiting = waiting
        self._state = ClientConnection()
        self._answers: dict[int, Answer] = {}
        # Not `socket`, as in the shim: that takes 2 ms to import.
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        self._socket.settimeout(_SECONDS)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise Unavailable(f"socket {path!r}: {error.strerror or error}") from None
        self.is_closed = False
        waiting.on_readable(self._socket.fileno(), self._read)

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send(self, service: Service, method: str, request: Message, timeout: float | None = None) -> Answer:
        """Send a call and return at once. timeout: seconds; sent to the server. Raises nothing."""
        answer = Answer(service, method)
        stream_id, frame = self._state.send_request(envelope.request(service, method, request, timeout))
        self._answers[stream_id] = answer
        try:
            self._socket.sendall(frame)
        except OSError:  # it is gone, or stopped: then a frame may be cut short
            self._end()
        return answer

    def call(self, service: Service, method: str, request: Message) -> Any:  # noqa: ANN401 (the method decides)
        """Call a method and wait for its response message. Raises as `Answer.message`."""
        return self.wait_for(self.send(service, method, request))

    def wait_for(self, answer: Answer) -> Any:  # noqa: ANN401 (as above)
        """Wait for an answer; return its message. Raises as `Answer.message`."""
        self._waiting.until(lambda: answer.has_come)
        return answer.message()

    def wait_closed(self, seconds: float) -> None:
        """Return once the server has ended the connection, or `seconds` have passed."""
        self._waiting.until(lambda: self.is_closed, seconds)

    def close(self) -> None:
        """End the connection; calls that are pending have Unavailable for an answer."""
        self._end()
        self._socket.close()

    def _read(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except OSError:
            data = b""
        if not data:
            self._end()
        for event in self._state.receive_data(data):
            answer = self._answers.pop(event.stream_id, None)
            if answer and isinstance(event, ResponseReceived):
                answer.take(event.data)
            elif answer and isinstance(event, StreamRefused):
                answer.take(from_fields(event.code, event.message))

    def _end(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self._waiting.forget(self._socket.fileno())
        for answer in self._answers.values():
            answer.take(Unavailable("the container's shim has ended"))
        self._answers.clear()
