"""The file to run, and where args[0] is looked for."""

import hashlib
import os

import pytest

from pelagos_core.oci import Process
from pelagos_core.plugin.entrypoint import Entrypoint, Kind, candidates, not_found


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


def test_what_is_nowhere_is_reported_with_all_the_places():
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
