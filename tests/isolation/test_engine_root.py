"""An engine root, as steps: nothing is touched. What becomes of an engine's files in it is in test_engine_files."""

import pytest

from pelagos_core.isolation import engine_root
from pelagos_core.plugin.entrypoint import Entrypoint, Kind
from pelagos_core.plugin.program import HostFile, Program

PROGRAM = Program("/bin/engine", "/usr/bin/engine", (HostFile("/bin/engine", "/usr/bin/engine"),), ("/bin/engine",))


def test_a_program_finds_the_module_or_the_code_that_takes_its_place():
    entrypoint = Entrypoint(Kind.MODULE, "/app.wasm", "", ("/x",), (), "/", -1)
    assert engine_root.entered(entrypoint, "/app.wasm", compiled=False).code == ""
    found = engine_root.entered(entrypoint, "/module.wasm", compiled=True)
    assert (found.file_path, found.code) == ("/module.wasm", "/module.wasm")


@pytest.mark.parametrize(
    ("compiled", "copying"),
    [
        (False, ["copy the entry point to /app.wasm for user 7 [from root, entry point]"]),
        (
            True,
            [
                "open the compiled code [from code directory; to code]",
                "close the code directory [from code directory]",
                "copy the code to /app.wasm for user 7 [from root, code]",
                "close the code [from code]",
            ],
        ),
    ],
)
def test_each_step_says_what_it_does(compiled, copying):
    steps = engine_root.assembling(PROGRAM, "/app.wasm", 7, compiled=compiled)
    assert [step.line() for step in steps] == [
        "engine root, with the container's at /guest [from root; to root, engine root]",
        "1 files of /bin/engine [from root, engine root]",
        *copying,
        "read-only root [from root]",
    ]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/app.wasm", "/app.wasm"),
        ("srv/../app.wasm", "/app.wasm"),
        ("/usr/bin/app.wasm", "/usr/bin/app.wasm"),
        ("/usr/bin/engine", "/module.wasm"),
        ("/usr", "/module.wasm"),
        ("/guest/app.wasm", "/module.wasm"),
        ("/engine/app.wasm", "/module.wasm"),
        ("/tmp/app.wasm", "/module.wasm"),
        ("/guests.wasm", "/guests.wasm"),
    ],
)
def test_the_module_is_where_a_guest_would_see_it_unless_something_of_the_engine_is_there(path, found):
    assert engine_root.module_path(PROGRAM, path) == found
