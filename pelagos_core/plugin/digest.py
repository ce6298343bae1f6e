"""Digests of what is behind a descriptor, in pieces, so that no large file is ever held."""

from __future__ import annotations

import hashlib
import os

_CHUNK = 1 << 16  # a page of it that was never touched is one more for each process


def sha256(file: int) -> str:
    """In hex. The descriptor's offset is neither used nor moved. Raises OSError."""
    found, buffer, offset = hashlib.sha256(), bytearray(_CHUNK), 0
    while count := os.preadv(file, [buffer], offset):
        found.update(memoryview(buffer)[:count])
        offset += count
    return found.hexdigest()
