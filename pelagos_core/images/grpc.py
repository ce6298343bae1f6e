"""A gRPC client for a Unix socket: unary calls, and calls with a stream of answers.

It blocks, and needs no thread and no event loop: it runs in a short-lived process. The library `h2` implements HTTP/2
without I/O; gRPC adds five bytes before each message, and trailers (grpc/doc/PROTOCOL-HTTP2.md).
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Mapping
from typing import TypeVar
from urllib.parse import unquote

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from google.protobuf.message import DecodeError, Message

from pelagos_core.errors import Internal, ResourceExhausted, Unavailable, from_fields

logging.getLogger("hpack").setLevel(logging.WARNING)  # at lower levels it logs each header, also secret ones

_CHUNK = 256 << 10
_WINDOW = 8 << 20  # bytes that the server may send before they are acknowledged
_MAX_MESSAGE = 16 << 20  # containerd's own limit
_PREFIX = 5  # a flag, and the length in four bytes
_Answer = TypeVar("_Answer", bound=Message)


class Channel:
    """A connection to a server. Its `with` block closes it."""

    def __init__(self, address: str, metadata: Mapping[str, str], seconds: float) -> None:
        """Connect to a server.

        address: the socket's path. metadata: sent with each call. seconds: how long to wait for the next bytes.
        Raises OSError if no server listens.
        """
        self._metadata = tuple(metadata.items())
        self._socket = socket.socket(socket.AF_UNIX)
        self._http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        try:
            self._socket.settimeout(seconds)
            self._socket.connect(address)
            self._http.initiate_connection()
            self._http.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW})
            self._http.increment_flow_control_window(_WINDOW)
            self._send()
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def call(self, method: str, request: Message, answer: type[_Answer]) -> _Answer:
        """Make a unary call and return its answer. Raises like `stream`."""
        answers = self.stream(method, request, answer)
        found = next(answers, None)
        if found is None or next(answers, None) is not None:
            raise Internal(f"{method}: {'no answer' if found is None else 'answers'} to a call that has one")
        return found

    def stream(self, method: str, request: Message, answer: type[_Answer]) -> Iterator[_Answer]:
        """Make a call and yield its answers as they arrive.

        method: the full name, `package.Service/Method`. answer: the type of the answers.
        Raises the PelagosError for the server's status, Unavailable if the connection is lost or no bytes arrive in
        time, Internal if the answer is not gRPC.
        """
        try:
            number = self._http.get_next_available_stream_id()
            self._http.send_headers(number, self._headers(method))
            data = request.SerializeToString()
            self._http.send_data(number, b"\0" + len(data).to_bytes(4, "big") + data, end_stream=True)
            self._send()
            for message in self._messages(method, number):
                yield answer.FromString(message)
        except TimeoutError:
            raise Unavailable(f"{method}: no answer in {self._socket.gettimeout():g} s") from None
        except (OSError, h2.exceptions.H2Error) as error:
            raise Unavailable(f"{method}: {error}") from None
        except DecodeError:
            raise Internal(f"{method}: the answer is malformed") from None

    def _headers(self, method: str) -> tuple[tuple[str, str], ...]:
        return (
            (":method", "POST"),
            (":scheme", "http"),
            (":path", f"/{method}"),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            *self._metadata,
        )

    def _messages(self, method: str, number: int) -> Iterator[bytes]:
        """Yield the messages of a stream. Raises PelagosError for a status that is not OK."""
        buffer, status = bytearray(), dict[str, str]()
        while True:
            for event in self._events():
                if getattr(event, "stream_id", number) != number:
                    continue
                if isinstance(event, h2.events.DataReceived):
                    buffer += event.data
                    self._http.acknowledge_received_data(event.flow_controlled_length, number)
                    yield from _complete(method, buffer)
                elif isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                    status.update({str(name): str(value) for name, value in event.headers})
                elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                    raise Unavailable(f"{method}: the server has ended the call")
                elif isinstance(event, h2.events.StreamEnded):
                    _check(method, status)
                    if buffer:
                        raise Internal(f"{method}: the answer ends within a message")
                    return
            self._send()

    def _events(self) -> list[h2.events.Event]:
        data = self._socket.recv(_CHUNK)
        if not data:
            raise ConnectionResetError("the server has closed the connection")
        return self._http.receive_data(data)

    def _send(self) -> None:
        self._socket.sendall(self._http.data_to_send())


def _complete(method: str, buffer: bytearray) -> Iterator[bytes]:
    """Remove the complete messages from a buffer and yield them."""
    while len(buffer) >= _PREFIX:
        length = int.from_bytes(buffer[1:_PREFIX], "big")
        if buffer[0]:
            raise Internal(f"{method}: the answer is compressed, but compression was not negotiated")
        if length > _MAX_MESSAGE:
            raise ResourceExhausted(f"{method}: a message of {length} bytes")
        if len(buffer) < _PREFIX + length:
            return
        message = bytes(buffer[_PREFIX : _PREFIX + length])
        del buffer[: _PREFIX + length]
        yield message


def _check(method: str, status: Mapping[str, str]) -> None:
    if status.get(":status") != "200":
        raise Internal(f"{method}: the server answers HTTP {status.get(':status', 'without a status')}")
    code = status.get("grpc-status", "")
    if not code.isdecimal():
        raise Internal(f"{method}: the answer has no status")
    if int(code):
        raise from_fields(int(code), unquote(status.get("grpc-message", "")))
