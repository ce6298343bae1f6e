"""Reads the sections of a WebAssembly binary, and the values in a section. The bytes are untrusted.

Source: core specification, "Binary Format"; component-model, Binary.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NoReturn

from pelagos_core.errors import InvalidArgument

MAX_READ = 100_000  # sections, and items other than functions; a file with more of them is left to the engine
_MAX_SECTION = 16 << 20  # bytes of imports, exports or types; a code section may be larger
_MAX_ITEMS = 1_000_000  # of a vector; engines accept no more types, imports, functions or exports either
_HEAD_BYTES = 8


class NotUnderstood(Exception):
    """Core does not understand the binary; an engine may."""


class Section:
    """A section's bytes and a position in them."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def byte(self) -> int:
        """Read a byte. All methods raise IndexError at the section's end."""
        value = self.data[self.at]
        self.at += 1
        return value

    def number(self, bits: int = 32) -> int:
        """Read an unsigned LEB128 number. bits: its largest size. Raises InvalidArgument for a longer one."""
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
        """Read the length of a vector.

        Raises NotUnderstood for more than `most` items, InvalidArgument if engines refuse the length too.
        """
        count = self.number()
        if count > _MAX_ITEMS:
            malformed(f"{count} items in a section")
        if count > most:
            raise NotUnderstood
        return count

    def name(self) -> str:
        """Read a name: its length in bytes, then its text. Raises UnicodeDecodeError."""
        length = self.number()
        text = self.data[self.at : self.at + length]
        if len(text) != length:
            raise IndexError
        self.at += length
        return text.decode()

    def skip_number(self) -> None:
        """Skip a LEB128 number of any size."""
        while self.byte() & 0x80:
            pass


def sections(file: int, begin: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int]]:
    """Yield the (id, offset, size) of each section of a binary.

    file: a descriptor opened for reading.
    begin, end: the offsets of the binary in the file; without end, it extends to the file's end.
    Raises NotUnderstood for more than MAX_READ sections, InvalidArgument for a malformed one.
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
    """Read a section of imports, exports or types. Raises InvalidArgument if it is larger than _MAX_SECTION."""
    if size > _MAX_SECTION:
        malformed(f"a section of {size} bytes")
    return Section(os.pread(file, size, offset))


def malformed(what: str) -> NoReturn:
    """Raise InvalidArgument for a malformed binary. what: the fault."""
    raise InvalidArgument(f"not valid WebAssembly: {what}")
