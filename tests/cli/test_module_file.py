"""Which files `pelagos run` takes as a module, and that it neither waits for nor keeps any other."""

import os
import socket

import pytest

from pelagos_core.cli import module_file
from pelagos_core.errors import InvalidArgument, NotFound, ResourceExhausted


def refused(path):
    with pytest.raises((InvalidArgument, NotFound)) as raised:
        os.close(module_file.open_module(str(path)))
    return str(raised.value)


def test_only_regular_files_are_taken(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
    assert "is a pipe, not a regular file" in refused(tmp_path / "fifo")
    assert "is a directory, not a regular file" in refused(tmp_path)
    assert "is a device, not a regular file" in refused("/dev/zero")
    assert "module" in refused(tmp_path / "socket")
    assert "does not exist" in refused(tmp_path / "none")
    assert "does not exist" in refused("")
    assert "null" in refused("a\0b")  # each CPython has its own words


def test_a_size_beyond_the_limit_is_named(tmp_path):
    (tmp_path / "x").write_bytes(b"")
    os.truncate(tmp_path / "x", module_file.MAX_BYTES + 1)
    assert "has 1.0 GiB: more than 1.0 GiB are not taken" in refused(tmp_path / "x")


@pytest.mark.parametrize(
    ("head", "text"),
    [
        (b"\x7fELF\2\1\1\0", "is a native program, not WebAssembly"),
        (b"\x7fELF\2\1\1\xc8", "is code that an engine has compiled, not a module"),
        (b"#!/bin/sh\n", "is a script, not WebAssembly"),
    ],
)
def test_what_is_no_module_is_named_for_what_it_is(tmp_path, head, text):
    (tmp_path / "x").write_bytes(head)
    assert text in refused(tmp_path / "x")


def test_what_wasmtime_compiles_is_known_as_such(tmp_path):
    wasmtime = pytest.importorskip("wasmtime")
    code = wasmtime.Module(wasmtime.Engine(), wasmtime.wat2wasm("(module)")).serialize()
    (tmp_path / "x.cwasm").write_bytes(code)
    assert "is code that an engine has compiled" in refused(tmp_path / "x.cwasm")


def copied(source, target):
    file = module_file.open_module(str(source))
    try:
        module_file.copy(file, str(target), "module 'x'", lambda: None)
    finally:
        os.close(file)


def test_a_module_is_copied_whole(tmp_path):
    (tmp_path / "x").write_bytes(os.urandom(1 << 20))
    copied(tmp_path / "x", tmp_path / "y")
    assert (tmp_path / "y").read_bytes() == (tmp_path / "x").read_bytes()


def test_what_comes_meanwhile_may_end_the_copy(tmp_path):
    (tmp_path / "x").write_bytes(bytes(100))
    file = module_file.open_module(str(tmp_path / "x"))

    def look():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        module_file.copy(file, str(tmp_path / "y"), "module 'x'", look)
    os.close(file)


def test_one_that_grows_beyond_the_limit_meanwhile_is_refused(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(b"\0" * 100)
    file = module_file.open_module(str(tmp_path / "x"))
    monkeypatch.setattr(module_file, "MAX_BYTES", 99)
    with pytest.raises(InvalidArgument, match="more than"):
        module_file.copy(file, str(tmp_path / "y"), "module 'x'", lambda: None)
    os.close(file)


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(b"\0" * 100)

    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "sendfile", full)
    with pytest.raises(ResourceExhausted, match=f"cannot be copied to '{tmp_path}': No space left on device"):
        copied(tmp_path / "x", tmp_path / "y")


def test_a_module_may_come_by_a_pipe():
    reader, writer = os.pipe()
    os.write(writer, b"\0asm\1\0\0\0")
    os.close(writer)
    file = module_file.read_stream(reader)
    assert os.pread(file, 100, 0) == b"\0asm\1\0\0\0"
    os.close(file)
    with pytest.raises(InvalidArgument, match="there is none"):
        module_file.read_stream(reader)
    os.close(reader)


def test_a_terminal_is_no_module():
    ours, theirs = os.openpty()
    with pytest.raises(InvalidArgument, match="it is a terminal: give a file, or pipe one in"):
        module_file.read_stream(theirs)
    os.close(ours)
    os.close(theirs)
