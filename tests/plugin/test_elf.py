"""The loader that an ELF file names, and files that lie."""

import os
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelagos_core.plugin import elf


def interpreter(data):
    fd = os.memfd_create("elf")
    try:
        os.write(fd, data)
        return elf.interpreter(fd)
    finally:
        os.close(fd)


def program(bits, loader=b"/lib/ld.so\0", *, count=2, length=None):
    ident = b"\x7fELF" + bytes([1 if bits == 32 else 2, 1]) + bytes(10)
    length = len(loader) if length is None else length
    if bits == 32:
        header = ident + struct.pack("<12xI10xHH6x", 52, 32, count)
        entries = struct.pack("<II8xI12x", 1, 0, 0) + struct.pack("<II8xI12x", 3, 116, length)
    else:
        header = ident + struct.pack("<16xQ14xHH6x", 64, 56, count)
        entries = struct.pack("<I4xQ16xQ16x", 1, 0, 0) + struct.pack("<I4xQ16xQ16x", 3, 176, length)
    return header + entries + loader


@pytest.mark.parametrize("bits", [32, 64])
def test_the_loader_is_found(bits):
    assert interpreter(program(bits)) == "/lib/ld.so"
    assert interpreter(program(bits, count=1)) == ""


def test_this_python_has_one():
    with open(os.path.realpath(sys.executable), "rb") as file:
        assert "/ld-" in elf.interpreter(file.fileno())


@pytest.mark.parametrize(
    "data", [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF\x02\x02" + bytes(60), b"\x7fELF\x03\x01" + bytes(60)]
)
def test_what_is_no_such_file_has_none(data):
    assert interpreter(data) is None


def test_a_table_beyond_the_end_names_no_loader():
    assert interpreter(program(64, count=65535)[:130]) == ""
    assert interpreter(program(64, length=2**64 - 1)) == "/lib/ld.so"


@given(st.binary(max_size=200))
def test_whatever_it_holds_it_is_read_or_not(rest):
    for kind in (1, 2):
        assert isinstance(interpreter(b"\x7fELF" + bytes([kind, 1]) + rest), str | None)
