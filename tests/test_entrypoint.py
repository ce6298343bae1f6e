"""What a file is by its bytes, and where args[0] is looked for."""

import hashlib
import os

import pytest

from pelagos_core.entrypoint import Entrypoint, Kind, candidates, not_found, sniff, split_func
from pelagos_core.spec import Process


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0asm\1\0\0\0", Kind.MODULE),
        (b"\0asm\x0d\0\1\0", Kind.COMPONENT),
        (b"\0asm\1\0\7\0", Kind.UNKNOWN),
        (b"\0asm\1\0\0", Kind.UNKNOWN),
        (b"\x7fELF\2\1", Kind.ELF),
        (b"#!/bin/sh\n", Kind.SCRIPT),
        (b"(module)", Kind.WAT),
        (b"(component)", Kind.WAT),
        (b"\n ;; a comment\n(; another ;) ( module $x", Kind.WAT),
        (b"(modules)", Kind.UNKNOWN),
        (b"(func)", Kind.UNKNOWN),
        (b"text (module)", Kind.UNKNOWN),
        (b"(;" * 2000, Kind.UNKNOWN),
        (b"", Kind.UNKNOWN),
    ],
)
def test_the_kind_is_read_off_the_bytes(head, kind):
    assert sniff(head) is kind


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("/a.wasm", ("/a.wasm", "")),
        ("/a.wasm#run", ("/a.wasm", "run")),
        ("/a#b.wasm#run", ("/a#b.wasm", "run")),
        ("#run", ("#run", "")),
        ("/a.wasm#", ("/a.wasm", "")),
    ],
)
def test_a_function_stands_behind_the_last_hash(word, parts):
    assert split_func(word) == parts


@pytest.mark.parametrize(
    ("word", "paths"),
    [
        ("/bin/a.wasm", ["/bin/a.wasm"]),
        ("./a.wasm#f", ["/work/./a.wasm"]),
        ("sub/a.wasm", ["/work/sub/a.wasm"]),
        ("a.wasm", ["/usr/bin/a.wasm", "/bin/a.wasm", "/work/a.wasm"]),
    ],
)
def test_a_program_is_looked_for_as_execve_would(word, paths):
    process = Process(args=(word,), env=("PATH=/usr/bin:relative::/bin",), cwd="/work")
    assert candidates(process) == paths


def test_what_is_nowhere_is_told_with_all_the_places():
    error = not_found(Process(args=("a.wasm",), env=("PATH=/bin",)))
    assert str(error) == "entry point 'a.wasm': executable file not found in $PATH: tried '/bin/a.wasm', '/a.wasm'"
    error = not_found(Process(args=("./a.wasm",)))
    assert str(error) == "entry point './a.wasm': no such file or directory in the container: tried '/./a.wasm'"


def test_an_entry_point_gives_the_whole_file_each_time(tmp_path):
    data = b"\0asm\1\0\0\0" + bytes(10_000)
    (tmp_path / "x").write_bytes(data)
    file = os.open(tmp_path / "x", os.O_RDONLY)
    try:
        process = Process(args=("/x#go", "a"), env=("A=1", "B=x=y"), cwd="/w")
        entrypoint = Entrypoint.of(process, "/x", "go", file)
        assert (entrypoint.kind, entrypoint.args, entrypoint.cwd) == (Kind.MODULE, ("/x", "a"), "/w")
        assert entrypoint.read() == entrypoint.read() == data
        assert entrypoint.digest == hashlib.sha256(data).hexdigest()
        assert entrypoint.environment() == [("A", "1"), ("B", "x=y")]
    finally:
        os.close(file)
