"""Digests of open files, read in pieces, so that a large file is never in memory as a whole."""

from __future__ import annotations

import hashlib
import os

_CHUNK = 1 << 16  # bytes; small, since each page that a forked process touches is copied


def sha256(file: int) -> str:
    """The sha256 of an open file, in hex. The descriptor's offset is neither used nor changed. Raises OSError."""
    found, buffer, offset = hashlib.sha256(), bytearray(_CHUNK), 0
    while count := os.preadv(file, [buffer], offset):
        found.update(memoryview(buffer)[:count])
        offset += count
    return found.hexdigest()
