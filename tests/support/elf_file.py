"""Reads how a program or library is linked. Source: elf(5); System V ABI, dynamic section."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

# p_type and d_tag
_LOAD, _DYNAMIC, _STACK, _RELRO = 1, 2, 0x6474E551, 0x6474E552
_NEEDED, _STRTAB, _RPATH, _TEXTREL, _RUNPATH, _FLAGS, _FLAGS_1 = 1, 5, 15, 22, 29, 30, 0x6FFFFFFB
_EXECUTABLE, _BIND_NOW, _NOW, _PIE = 1, 8, 1, 0x08000000
_HEADER, _SEGMENT, _ENTRY = struct.Struct("<16xHH12xQ14xHH"), struct.Struct("<IIQQ8xQ"), struct.Struct("<QQ")

# The libraries of the C library. An engine's library is opened by its path.
_LIBRARIES = {"libc.so.6", "libm.so.6", "libdl.so.2", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}


@dataclass(frozen=True)
class ElfFile:
    """The checked properties of a 64-bit file.

    machine: e_machine. needed: names of libraries. faults: properties that make memory errors easier to exploit.
    """

    machine: int
    is_program: bool
    needed: tuple[str, ...]
    faults: tuple[str, ...]


def read(data: bytes) -> ElfFile:
    """Read the properties of a file."""
    assert data[:6] == b"\x7fELF\2\1"
    kind, machine, table, size, count = _HEADER.unpack_from(data)
    segments = [_SEGMENT.unpack_from(data, table + index * size) for index in range(count)]
    by_type = {segment[0]: segment for segment in segments}
    entries = list(_entries(data, by_type[_DYNAMIC]))
    tags = dict(entries)
    faults = {
        "another place in memory is not possible": kind != 3,  # ET_DYN
        "symbols are looked up late": not (tags.get(_FLAGS, 0) & _BIND_NOW and tags.get(_FLAGS_1, 0) & _NOW),
        "what is looked up stays writable": _RELRO not in by_type,
        "the stack is executable": bool(by_type.get(_STACK, (0, _EXECUTABLE))[1] & _EXECUTABLE),
        "code is written to": _TEXTREL in tags,
        "libraries are looked for in a directory of its own": _RPATH in tags or _RUNPATH in tags,
        "memory is both written to and executed": any(each[0] == _LOAD and each[1] & 3 == 3 for each in segments),
    }
    names = _place(segments, tags[_STRTAB])
    needed = tuple(_text(data, names + value) for tag, value in entries if tag == _NEEDED)
    told = tuple(text for text, is_so in faults.items() if is_so)
    return ElfFile(machine, bool(tags.get(_FLAGS_1, 0) & _PIE), needed, told)


def check_product(data: bytes, *, is_program: bool, machine: int = 0) -> None:
    """Check that a file has the properties that native/compiling.py sets. machine: e_machine; 0 for any."""
    found = read(data)
    assert not found.faults
    assert found.is_program == is_program
    assert set(found.needed) <= _LIBRARIES
    assert not machine or found.machine == machine


def _entries(data: bytes, dynamic: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    _, _, offset, _, size = dynamic
    yield from _ENTRY.iter_unpack(data[offset : offset + size])


def _place(segments: list[tuple[int, ...]], address: int) -> int:
    """The offset in the file of an address."""
    loads = (each for each in segments if each[0] == _LOAD and each[3] <= address < each[3] + each[4])
    _, _, offset, begin, _ = next(loads)
    return address - begin + offset


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode()
