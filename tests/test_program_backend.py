"""What a program's init process does: run it, pass on what it says, tell a trap from an exit."""

import os
import re

import pytest

from pelagos_core.bundle import Bundle
from pelagos_core.entrypoint import Entrypoint, Kind
from pelagos_core.errors import InvalidArgument
from pelagos_core.hookspecs import Trap
from pelagos_core.program_backend import Diagnostics, ProgramBackend, _run
from pelagos_core.spec import Process, Spec
from tests.support.child import in_child

SHELL = "/bin/sh"
MARKED = Diagnostics(1, re.compile(rb"TRAP: "), {134: b"TRAP: "})


def run(script, diagnostics=MARKED):
    """Run a shell script as the engine; its exit code or trap, stdout and stderr."""

    def child():
        readers = []
        for target in (1, 2):
            reader, writer = os.pipe()
            os.dup2(writer, target)
            os.close(writer)
            readers.append(reader)
        try:
            outcome = _run([SHELL, "-c", script], {}, diagnostics)
        except Trap as error:
            outcome = str(error)
        for target in (1, 2):
            os.close(target)
        return outcome, *(os.read(reader, 1 << 16).decode() for reader in readers)

    return in_child(child)


@pytest.mark.parametrize("diagnostics", [None, MARKED])
def test_output_and_exit_code_pass_through(diagnostics):
    assert run("echo out; echo err >&2; exit 7", diagnostics) == (7, "out\n", "err\n")


def test_the_last_words_of_a_trap_are_taken_out_of_the_output():
    assert run("printf 'a\nb'; echo 'TRAP: unreachable'; exit 134") == ("TRAP: unreachable\n", "a\nb", "")


@pytest.mark.parametrize("script", ["echo 'TRAP: not'; exit 0", "echo 'TRAP: not'; exit 1"])
def test_a_guest_that_prints_the_marker_and_exits_keeps_its_output(script):
    outcome, out, err = run(script)
    assert (outcome, out, err) == (int(script[-1]), "TRAP: not\n", "")


def test_exit_code_134_alone_is_no_trap():
    assert run("echo x; exit 134") == (134, "x\n", "")


def test_much_output_after_a_marker_is_not_held_for_ever():
    outcome, out, _ = run("echo 'TRAP: '; head -c 20000 /dev/zero | tr '\\0' x; exit 0")
    assert (outcome, len(out)) == (0, 20007)


def test_an_engine_that_dies_is_told_by_its_signal():
    assert run("kill -ABRT $$") == (134, "", "pelagos: the engine was ended by SIGABRT\n")


def test_a_program_that_is_gone_is_told():
    def child():
        return _run(["/none"], {}, None)

    assert in_child(child) == 127


BUNDLE = Bundle("c1", "ns", "/", Spec(Process(args=("/x",))))


class Cat(ProgramBackend):
    """Cat: prints its module."""

    name = "cat"
    engine = "Cat"
    remedy = "get a cat"

    def arguments(self, entrypoint):
        return [entrypoint.file_path]


def entrypoint(kind=Kind.MODULE, func=""):
    return Entrypoint(kind, "/x", func, ("/x",), (), "/", -1)


def test_a_backend_finds_its_program_when_it_is_configured():
    cat = Cat()
    cat.pelagos_configure({})
    described = cat.pelagos_describe()
    assert (described.engine, described.form, described.problem) == ("Cat", "program", "")
    assert described.version
    assert "cannot run a component" in cat.pelagos_detect(BUNDLE, entrypoint(Kind.COMPONENT)).reason
    assert "runs _start only" in cat.pelagos_detect(BUNDLE, entrypoint(func="f")).reason


def test_a_program_that_is_not_there_is_told_with_its_remedy():
    cat = Cat()
    cat.pelagos_configure({"program": "/none"})
    assert cat.pelagos_describe().obstacle == "program '/none' does not exist or cannot be executed: get a cat"
    assert "get a cat" in cat.pelagos_detect(BUNDLE, entrypoint()).reason
    with pytest.raises(InvalidArgument, match=r"unknown setting 'x' \(known: program, root\)"):
        cat.pelagos_configure({"x": 1})
