"""Guests by the native part, and by the backend's Python: each ends the same way, with the same words.

Both run under the loader and the C library of the system that WasmEdge is of.
"""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from pelagos_core.conformance import modules
from pelagos_core.plugin import program
from pelagos_core.plugin.entrypoint import Preopen
from pelagos_core.plugin.hookspecs import NativePart
from pelagos_core.plugin.limits import Limits
from scripts import engines
from tests.support import engine_part
from tests.support.engine_part import ROOT, Guest
from tests.support.loader import environment_under

SOURCES = sorted((ROOT / "plugins/wasmedge_backend/native").glob("*.c"))
SYSTEM = engines.DIRECTORY / "wasmedge"
GUESTS = ROOT / "tests/guests"

pytestmark = [pytest.mark.engines, pytest.mark.compiler]


def module(text):
    return Guest(modules.binary(text))


def file(name):
    return modules.binary((GUESTS / f"{name}.wat").read_text())


@pytest.fixture(scope="module")
def library():
    return next(SYSTEM.glob("usr/lib/*/libwasmedge.so.0"))


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    return environment_under(SYSTEM, tmp_path_factory.mktemp("venv"))


class Part:
    """The driver and the native part, of one compiler, and the Python to compare them with."""

    def __init__(self, directory, sanitized, library, python):
        self.library, self.python = library, python
        self.driver, self.part = engine_part.compiled(directory, SOURCES, sanitized=sanitized)

    def run(self, guest, directory, code=None, **changes):
        (loader, *search, _) = program.find("wasmedge", {"root": str(SYSTEM)}).command
        part = replace(NativePart.of(str(self.part), str(self.library)), **changes)
        return engine_part.run([loader, *search, self.driver], part, guest, code, directory)

    def both(self, guest, directory):
        """What came of it both ways, which is the same."""
        outcome = self.run(guest, directory)
        load = f"from wasmedge_backend.hooks import backend; settings = {{'library': {str(self.library)!r}}}"
        load += "; backend.pelagos_configure(settings); load = backend.pelagos_spawn"
        assert outcome == engine_part.run_by_interpreter(self.python, load, guest, None, directory)
        return outcome


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "sanitized"])
def part(request, tmp_path_factory, library, python):
    return Part(tmp_path_factory.mktemp("part"), request.param, library, python)


COMMANDS = {
    "hello": (Guest(file("hello")), 0),
    "returns": (module('(module (func (export "_start")))'), 0),
    "exit 7": (Guest(file("exit7")), 7),
    "exit 0": (module(modules.leaves(0)), 0),
    "exit 256": (module(modules.leaves(256)), 0),
    "exit -1": (module(modules.leaves(-1)), 255),
    "stderr": (module(modules.says("oh", 2)), 0),
    "large output": (module(modules.LARGE), 0),
    "arguments": (Guest(modules.binary(modules.ARGUMENTS), args=("a", "", "b c", "é")), 0),
    "variables": (Guest(modules.binary(modules.ENVIRONMENT), env=("A=1", "B=", "C==x=y", "D=é")), 0),
    "input": (module(modules.COPIES_INPUT), 0),
    "a function": (Guest(file("functions"), func="five"), 5),
    "functions in order": (Guest(modules.binary(modules.LIBRARY), func="ready"), 1),
    "a start function leaves": (
        module(
            '(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))'
            '(func $s (call $exit (i32.const 9))) (start $s) (func (export "_start")))'
        ),
        9,
    ),
    **{f"trap: {name}": (module(text), 134) for name, text in modules.TRAPS.items()},
    "trap in a start function": (module('(module (func $s unreachable) (start $s) (func (export "_start")))'), 134),
    "an unknown import": (module(modules.UNKNOWN_IMPORT), 134),
    "active data outside": (module('(module (memory 1) (data (i32.const 65535) "abc") (func (export "_start")))'), 134),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_module_ends_the_same_way(part, tmp_path, name):
    guest, code = COMMANDS[name]
    outcome = part.both(guest, tmp_path)
    assert (outcome.stage, outcome.code) == ("run", code)


@pytest.mark.parametrize("name", sorted(modules.BAD.keys() - {"empty", "noise", "header only, cut", "unknown version"}))
def test_what_is_not_valid_is_refused_before_it_runs(part, tmp_path, name):
    outcome = part.both(Guest(modules.BAD[name]), tmp_path)
    assert (outcome.stage, outcome.number) == ("load", -22)
    assert outcome.text.startswith("is not valid WebAssembly: ")


def test_files_of_its_directories_are_reached_under_their_names(part, tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "x").write_text("content")
    directories = (Preopen("/", str(tmp_path / "root")),)
    outcome = part.both(Guest(modules.binary(modules.reads("x")), directories=directories), tmp_path)
    assert outcome.stdout == b"content"
    assert part.both(Guest(modules.binary(modules.reads("none")), directories=directories), tmp_path).code == 54
    assert part.both(module(modules.FIRST_PREOPEN), tmp_path).code == 102
    colon = part.both(Guest(modules.binary(modules.says("x")), directories=(Preopen("/a:b", "/"),)), tmp_path)
    assert (colon.number, colon.text) == (-22, "has a directory '/a:b': WasmEdge accepts none with a colon")


@pytest.mark.parametrize(("fuel", "code"), [(1, 134), (100_000, 0)])
def test_fuel_is_what_it_may_use(part, tmp_path, fuel, code):
    assert part.both(Guest(file("hello"), limits=Limits(fuel=fuel)), tmp_path).code == code


@pytest.mark.parametrize(
    ("pages", "limit", "code"),
    [(10, 50 * 65536, 0), (11, 50 * 65536, 1), (0, 65536, 0), (1, 65536, 1), (1, 1, 1), (1, 1 << 40, 0)],
)
def test_memory_grows_up_to_its_limit(part, tmp_path, pages, limit, code):
    guest = Guest(modules.binary(modules.grows(pages)), limits=Limits(memory=limit))
    assert part.both(guest, tmp_path).code == code


def test_a_module_that_cannot_be_read_is_the_engines_fault(part, tmp_path):
    outcome = part.run(Guest(file("hello")), tmp_path, code=tmp_path / "none")
    assert (outcome.stage, outcome.number, outcome.text) == ("load", -9, "the module: Bad file descriptor")


def test_another_library_than_the_one_that_was_looked_at_is_refused(part, tmp_path):
    outcome = part.run(Guest(file("hello")), tmp_path, settings="1:2:3:4")
    assert (outcome.stage, outcome.number) == ("warm", -2)
    assert "another file than the one that was checked" in outcome.text


def test_the_native_part_is_for_the_library_that_is_loaded(python, library):
    program = f"""
from wasmedge_backend.library import Library
print(Library({str(library)!r}).path)
"""
    said = subprocess.check_output([python, "-c", program], text=True)
    assert Path(said.strip()) == library.resolve()
