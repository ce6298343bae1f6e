"""ttrpc frames: a 10-byte header and its data, to and from bytes. No I/O in here.

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
    """A frame whose header promises more than MAX_DATA bytes; its data is thrown away."""

    stream_id: int
    type: int
    length: int


class FrameReader:
    """Bytes in, frames out. Holds at most one frame's worth of bytes.

    Any bytes at all are frames of some kind, so nothing is ever refused here.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._skip = 0  # bytes of an oversized frame's data that are still to come

    def feed(self, data: bytes) -> list[Frame | Oversized]:
        """Take in `data`; return the frames that it completes, in order."""
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
