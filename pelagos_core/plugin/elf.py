"""Reads the loader (program interpreter) that an ELF file names. Source: elf(5)."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

_PT_INTERP = 3
_MAX_PATH = 4096
_MAX_HEADERS = 1024  # a program has about a dozen; the count in the file is untrusted
# For each class of e_ident: the layout of e_phoff, e_phentsize and e_phnum in the file's header,
# and of p_type, p_offset and p_filesz in a program header.
_LAYOUTS = {1: ("<28xI10xHH", "<II8xI"), 2: ("<32xQ14xHH", "<I4xQ16xQ")}


def interpreter(file: int) -> str | None:
    """The path of the loader of a little-endian ELF program.

    file: a descriptor opened for reading; its content is untrusted.
    Returns an empty string for a static program, None if the file is not a little-endian ELF file.
    """
    return _interpreter(lambda size, offset: os.pread(file, size, offset))


def interpreter_in(head: bytes) -> str | None:
    """Like `interpreter`, for the first bytes of a program; empty if the loader's name lies beyond them."""
    return _interpreter(lambda size, offset: head[offset : offset + size])


def _interpreter(read: Callable[[int, int], bytes]) -> str | None:
    head = read(64, 0)
    if head[:4] != b"\x7fELF" or len(head) < 52 or head[4] not in _LAYOUTS or head[5] != 1:
        return None
    header, entry = _LAYOUTS[head[4]]
    if len(head) < struct.calcsize(header):
        return None
    table, size, count = struct.unpack_from(header, head)
    for index in range(min(count, _MAX_HEADERS)):
        data = read(struct.calcsize(entry), min(table + index * size, 2**62))
        if len(data) < struct.calcsize(entry):
            return ""
        kind, offset, length = struct.unpack(entry, data)
        if kind == _PT_INTERP:
            return read(min(length, _MAX_PATH), min(offset, 2**62)).rstrip(b"\0").decode(errors="replace")
    return ""
