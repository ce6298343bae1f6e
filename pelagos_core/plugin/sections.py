"""The sections of a WebAssembly binary, and what is in one, byte by byte. The bytes are untrusted.

Source: core specification, "Binary Format"; component-model, Binary.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NoReturn

from pelagos_core.errors import InvalidArgument

MAX_READ = 100_000  # of sections, and of those items but functions, that are read here; more are for the engine
_MAX_SECTION = 16 << 20  # of imports, exports or types; a code section may be larger
_MAX_ITEMS = 1_000_000  # of a vector; engines take no more types, imports, functions or exports either
_HEAD_BYTES = 8


class NotUnderstood(Exception):
    """An engine may understand it."""


class Section:
    """A section's bytes and a position in them."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def byte(self) -> int:
        """The next byte. Raises IndexError at the end, as the others do."""
        value = self.data[self.at]
        self.at += 1
        return value

    def number(self, bits: int = 32) -> int:
        """An unsigned LEB128 number of up to so many bits."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return value
            shift += 7
            if shift >= bits:
                malformed(f"a number of over {bits} bits")

    def count(self, most: int = MAX_READ) -> int:
        """The length of a vector."""
        count = self.number()
        if count > _MAX_ITEMS:
            malformed(f"{count} items in a section")
        if count > most:
            raise NotUnderstood
        return count

    def name(self) -> str:
        """A text behind its length. Raises UnicodeDecodeError."""
        length = self.number()
        text = self.data[self.at : self.at + length]
        if len(text) != length:
            raise IndexError
        self.at += length
        return text.decode()

    def skip_number(self) -> None:
        """Pass over a LEB128 number of any size."""
        while self.byte() & 0x80:
            pass


def sections(file: int, begin: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int]]:
    """The (id, offset, size) of each section of a binary, which may be a part of the file.

    Raises NotUnderstood for more of them than are read here, and InvalidArgument.
    """
    offset = begin + _HEAD_BYTES
    end = os.fstat(file).st_size if end is None else end
    for _ in range(MAX_READ):
        if offset >= end:
            return
        head = Section(os.pread(file, 6, offset))
        kind, size = head.byte(), head.number()
        offset += head.at
        if offset + size > end:
            malformed("a section is longer than the file")
        yield kind, offset, size
        offset += size
    raise NotUnderstood


def load(file: int, offset: int, size: int) -> Section:
    """The bytes of a section. Raises InvalidArgument for one that is too large for what it is."""
    if size > _MAX_SECTION:
        malformed(f"a section of {size} bytes")
    return Section(os.pread(file, size, offset))


def malformed(what: str) -> NoReturn:
    """Raise the error for a binary that is none."""
    raise InvalidArgument(f"not valid WebAssembly: {what}")
