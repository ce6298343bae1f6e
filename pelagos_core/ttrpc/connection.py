"""The two ends of a ttrpc connection as state machines: bytes in, events and bytes out.

No socket, no event loop and no protobuf: the data of frames is not decoded.
"""

from __future__ import annotations

from typing import NamedTuple

from pelagos_core.errors import Code
from pelagos_core.ttrpc.frames import REQUEST, RESPONSE, Frame, FrameReader, Oversized


class RequestReceived(NamedTuple):
    """The data of a request, on a stream that the client has opened with it."""

    stream_id: int
    data: bytes


class StreamRefused(NamedTuple):
    """A frame that opens no stream; the answer is this status."""

    stream_id: int
    code: int
    message: str


class ResponseReceived(NamedTuple):
    """The data of a response, for a stream of this client."""

    stream_id: int
    data: bytes


class ServerConnection:
    """The server's end of one connection.

    A client's stream ids are odd and increase; a stream ends with its response. A unary server ignores
    frames of unknown types and streaming data.
    """

    def __init__(self) -> None:
        self._reader = FrameReader()
        self._last_stream_id = 0

    def receive_data(self, data: bytes) -> list[RequestReceived | StreamRefused]:
        """Process bytes from the client; return the events."""
        events = (self._event(frame) for frame in self._reader.feed(data) if frame.type == REQUEST)
        return list(events)

    def _event(self, frame: Frame | Oversized) -> RequestReceived | StreamRefused:
        stream_id = frame.stream_id
        if stream_id % 2 == 0:
            return StreamRefused(stream_id, Code.INVALID_ARGUMENT, f"stream id {stream_id} is not odd")
        if stream_id <= self._last_stream_id:
            return StreamRefused(
                stream_id, Code.INVALID_ARGUMENT, f"stream id {stream_id} is not above {self._last_stream_id}"
            )
        self._last_stream_id = stream_id
        if isinstance(frame, Oversized):
            return StreamRefused(stream_id, Code.RESOURCE_EXHAUSTED, f"request of {frame.length} bytes is too large")
        return RequestReceived(stream_id, frame.data)

    def send_response(self, stream_id: int, data: bytes) -> bytes:
        """The bytes of the response on a stream. Raises ValueError if the data is too long."""
        return Frame(stream_id, RESPONSE, 0, data).serialize()


class ClientConnection:
    """The client's end of one connection."""

    def __init__(self) -> None:
        self._reader = FrameReader()
        self._next_stream_id = 1

    def send_request(self, data: bytes) -> tuple[int, bytes]:
        """Open a stream; return its id and the bytes to send. Raises ValueError if too long."""
        stream_id = self._next_stream_id
        frame = Frame(stream_id, REQUEST, 0, data).serialize()
        self._next_stream_id += 2
        return stream_id, frame

    def receive_data(self, data: bytes) -> list[ResponseReceived | StreamRefused]:
        """Process bytes from the server; return the events."""
        return [self._event(frame) for frame in self._reader.feed(data) if frame.type == RESPONSE]

    def _event(self, frame: Frame | Oversized) -> ResponseReceived | StreamRefused:
        if isinstance(frame, Oversized):
            return StreamRefused(
                frame.stream_id, Code.RESOURCE_EXHAUSTED, f"response of {frame.length} bytes is too large"
            )
        return ResponseReceived(frame.stream_id, frame.data)
