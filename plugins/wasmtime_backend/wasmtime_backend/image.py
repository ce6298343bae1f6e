"""Stores a module's initial memory after its code, so that all containers map the same pages.

Wasmtime does that itself, but not for memories of a custom memory creator (see `memory`): for these it copies the
module's data in each container, and compiles code that copies each data segment; Go's linker makes tens of
thousands of them. So the data is removed from the module before it is compiled, and stored after the code in
whole pages. A new memory maps these pages.

Source: core specification, "Binary Format", "Modules".
"""

from __future__ import annotations

import mmap
import os
import struct
from typing import NamedTuple

_MEMORY, _DATA, _DATA_COUNT = 5, 11, 12
_CONSTANTS = {0: 0x41, 4: 0x42}  # i32.const, i64.const, by the flag for 64-bit addresses in a memory's limits
_HAS_MAXIMUM = 1
_ACTIVE, _END = 0, 0x0B
_MOST_BITS = 64
_BITS, _MORE, _NEGATIVE = 0x7F, 0x80, 0x40  # of a byte of a number (LEB128)
_WASM_PAGE = 64 << 10
_PAGE = mmap.PAGESIZE
_SPARSE = 4  # a module keeps its data if the pages would be so many times as large
_MOST_RUNS = 1000  # the kernel limits the number of mappings
_RUN = struct.Struct("<QQQ")
_TAIL = struct.Struct("<8sQ")
_MAGIC = b"pelagos1"


class Run(NamedTuple):
    """Adjacent pages: their address in the memory, their offset in the file, and their size in bytes."""

    address: int
    offset: int
    length: int


class _UnfitError(Exception):
    """The data cannot be removed from the module."""


def split(module: bytes) -> tuple[bytes, dict[int, bytearray]]:
    """Split a core module into the module without its data, and the data as pages by their numbers.

    The module is returned unchanged, without pages, if it imports a memory, if an address of data is not constant, or
    if the data is spread over too many places. So is a malformed module; the engine reports the fault.
    """
    try:
        return _split(module)
    except (_UnfitError, IndexError):
        return module, {}


def pack(code: bytearray, pages: dict[int, bytearray]) -> bytearray:
    """Append the pages to the code, and a list of them at the end, for `runs`."""
    packed, table = bytearray(code), bytearray()
    for numbers in _together(pages):
        packed += bytes(-len(packed) % _PAGE)
        table += _RUN.pack(numbers[0] * _PAGE, len(packed), len(numbers) * _PAGE)
        for number in numbers:
            packed += pages[number]
    return packed + table + _TAIL.pack(_MAGIC, len(table) // _RUN.size)


def runs(file: int) -> list[Run] | None:
    """The list that `pack` has appended; None if the file was not made by `pack`. Raises OSError."""
    end = os.fstat(file).st_size - _TAIL.size
    magic, count = _TAIL.unpack(os.pread(file, _TAIL.size, end)) if end >= 0 else (b"", 0)
    if magic != _MAGIC or count > min(_MOST_RUNS, end // _RUN.size):
        return None
    length = count * _RUN.size
    return [Run(*fields) for fields in _RUN.iter_unpack(os.pread(file, length, end - length))]


def _split(module: bytes) -> tuple[bytes, dict[int, bytearray]]:
    kept, pages = [module[:8]], dict[int, bytearray]()
    constant = bound = 0
    is_counted = False
    at = 8
    while at < len(module):
        kind = module[at]
        length, start = _unsigned(module, at + 1)
        end = start + length
        if kind == _MEMORY:
            constant, bound = _first_memory(module, start)
        is_counted |= kind == _DATA_COUNT
        if kind == _DATA:
            pieces = _pieces(module, start, constant)
            pages = _laid_out(pieces, bound)
            kept.append(_without_data(pieces, constant) if is_counted else b"")
        else:
            kept.append(module[at:end])
        at = end
    return b"".join(kept), pages


def _first_memory(module: bytes, at: int) -> tuple[int, int]:
    """For the first memory: the opcode of a constant address, and the initial size in bytes."""
    _, at = _unsigned(module, at)
    flags = module[at]
    constant = _CONSTANTS.get(flags & ~_HAS_MAXIMUM)
    if constant is None:
        raise _UnfitError("the memory is shared, or has pages of another size")
    return constant, _unsigned(module, at + 1)[0] * _WASM_PAGE


def _pieces(module: bytes, at: int, constant: int) -> list[tuple[int, bytes]]:
    """The address and bytes of each data segment."""
    pieces = []
    count, at = _unsigned(module, at)
    for _ in range(count):
        if module[at] != _ACTIVE or module[at + 1] != constant:
            raise _UnfitError("a passive data segment, or one whose address is not constant")
        address, at = _signed(module, at + 2)
        if module[at] != _END:
            raise _UnfitError("an address that is calculated")
        length, at = _unsigned(module, at + 1)
        pieces.append((address, module[at : at + length]))
        at += length
    return pieces


def _laid_out(pieces: list[tuple[int, bytes]], bound: int) -> dict[int, bytearray]:
    """The pages that contain data. Where segments overlap, the last one is used."""
    pages: dict[int, bytearray] = {}
    most = sum(len(data) for _, data in pieces) * _SPARSE // _PAGE + _MOST_RUNS
    for address, data in pieces:
        if not 0 <= address <= bound - len(data):
            raise _UnfitError("a segment outside the memory, which is a trap")
        done = 0
        while done < len(data):
            number, offset = divmod(address + done, _PAGE)
            part = data[done : done + _PAGE - offset]
            pages.setdefault(number, bytearray(_PAGE))[offset : offset + len(part)] = part
            done += len(part)
        if len(pages) > most:
            raise _UnfitError("too sparse")
    if len(_together(pages)) > _MOST_RUNS:
        raise _UnfitError("in too many places")
    return pages


def _without_data(pieces: list[tuple[int, bytes]], constant: int) -> bytes:
    """The same number of segments, all empty, because code may refer to them by number."""
    body = _encoded(len(pieces)) + bytes((_ACTIVE, constant, 0, _END, 0)) * len(pieces)
    return bytes((_DATA,)) + _encoded(len(body)) + body


def _together(pages: dict[int, bytearray]) -> list[list[int]]:
    """The numbers of the pages, one list for each group of adjacent pages."""
    found: list[list[int]] = []
    for number in sorted(pages):
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    return found


def _unsigned(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number and its end offset."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & _BITS) << shift
        shift += 7
        if not byte & _MORE:
            return value, at
        if shift >= _MOST_BITS:
            raise _UnfitError("a number of over 64 bits")


def _signed(data: bytes, at: int) -> tuple[int, int]:
    value, end = _unsigned(data, at)
    return (value - (1 << 7 * (end - at)) if data[end - 1] & _NEGATIVE else value), end


def _encoded(number: int) -> bytes:
    encoded = bytearray()
    while number > _BITS:
        encoded.append(number & _BITS | _MORE)
        number >>= 7
    return bytes((*encoded, number))
