"""ttrpc frames: a 10-byte header and data, to and from bytes. No I/O.

Header, big endian: u32 data length, u32 stream id, u8 type, u8 flags (ttrpc PROTOCOL.md).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

HEADER = struct.Struct(">IIBB")
MAX_DATA = 4 << 20

REQUEST = 1
RESPONSE = 2
DATA = 3


class Frame(NamedTuple):
    """One frame. `data` is at most MAX_DATA bytes long."""

    stream_id: int
    type: int
    flags: int
    data: bytes

    def serialize(self) -> bytes:
        """The frame as bytes. Raises ValueError if the data is too long to send."""
        if len(self.data) > MAX_DATA:
            raise ValueError(f"frame data of {len(self.data)} bytes, more than {MAX_DATA}")
        return HEADER.pack(len(self.data), self.stream_id, self.type, self.flags) + self.data


class Oversized(NamedTuple):
    """A frame whose header announces more than MAX_DATA bytes; its data is discarded."""

    stream_id: int
    type: int
    length: int


class FrameReader:
    """Splits a byte stream into frames. Holds the bytes of at most one frame.

    Every byte sequence is a sequence of frames, so it raises no error.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._skip = 0  # remaining bytes of an oversized frame's data

    def feed(self, data: bytes) -> list[Frame | Oversized]:
        """Add `data`; return the frames that are complete, in order."""
        if self._skip:
            dropped = min(self._skip, len(data))
            self._skip -= dropped
            data = data[dropped:]
        self._buffer += data
        found = []
        start = 0
        while (item := self._parse(start)) is not None:
            frame, start = item
            found.append(frame)
        del self._buffer[:start]
        return found

    def _parse(self, start: int) -> tuple[Frame | Oversized, int] | None:
        buffer = self._buffer
        body = start + HEADER.size
        if len(buffer) < body:
            return None
        length, stream_id, kind, flags = HEADER.unpack_from(buffer, start)
        end = body + length
        if length > MAX_DATA:
            self._skip = max(0, end - len(buffer))
            return Oversized(stream_id, kind, length), min(end, len(buffer))
        if len(buffer) < end:
            return None
        return Frame(stream_id, kind, flags, bytes(buffer[body:end])), end
