"""What a program's init process does: run it, pass on its output, distinguish a trap from an exit."""

import errno
import os
import re
import select
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from pelagos_core.errors import FailedPrecondition, InvalidArgument
from pelagos_core.linux import child
from pelagos_core.oci import Process, Spec
from pelagos_core.plugin import program_backend
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.entrypoint import Entrypoint, Kind
from pelagos_core.plugin.hookspecs import Trap
from pelagos_core.plugin.program_backend import Diagnostics, ProgramBackend, _run
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


LOGGED = Diagnostics(1, re.compile(rb"LOG TRAP: "), {134: b"LOG"}, re.compile(rb"LOG "))


@pytest.mark.parametrize("pause", ["", "sleep 0.1;"])
def test_a_trap_that_is_reported_in_pieces_is_a_trap(pause):
    outcome, out, _ = run(f"echo a; printf 'LOG TR'; {pause} printf 'AP: un'; {pause} echo reachable; exit 134", LOGGED)
    assert outcome == "LOG TRAP: unreachable\n"
    # What has been passed on before the marker was whole stays where it is, and so does the rest.
    assert out == ("a\nLOG TRAP: unreachable\n" if pause else "a\n")


def test_lines_of_the_engines_after_the_marker_belong_to_the_text():
    script = "printf 'a line without its end'; echo 'LOG TRAP: x'; echo 'LOG at y'; echo; echo 'LOG at z'; exit 134"
    assert run(script, LOGGED) == ("LOG TRAP: x\nLOG at y\n\nLOG at z\n", "a line without its end", "")


def test_a_marker_that_a_guest_prints_before_other_output_is_no_trap():
    script = "echo 'LOG TRAP: mine'; echo more; exit 134"
    assert run(script, LOGGED) == (134, "LOG TRAP: mine\nmore\n", "")


def test_a_guest_that_prints_the_marker_before_it_traps_keeps_its_line():
    script = "echo 'LOG TRAP: mine'; echo more; echo 'LOG TRAP: x'; exit 134"
    assert run(script, LOGGED) == ("LOG TRAP: x\n", "LOG TRAP: mine\nmore\n", "")


def test_what_has_been_passed_on_to_stderr_is_not_reported_twice():
    said = Diagnostics(2, re.compile(rb"TRAP: "), {1: b"TRAP: "})
    assert run("echo 'TRAP: x' >&2; sleep 1; echo at y >&2; exit 1", said) == ("", "", "TRAP: x\nat y\n")


@pytest.mark.parametrize(
    "data",
    [
        b"x" * 300_000,
        bytes(range(256)) * 500,
        b"TRAP: " + b"y" * 200_000 + b"\n",
        b"TRAP: z\n" * 20_000,
        b"no end",
        b"TRAP: no end",
        b"\r\n\n\n",
    ],
    ids=["one line", "bytes", "a long trap", "many traps", "no end", "a trap without end", "blank"],
)
@pytest.mark.parametrize("diagnostics", [MARKED, LOGGED])
def test_whatever_is_printed_comes_through_as_it_is(tmp_path, data, diagnostics):
    (tmp_path / "data").write_bytes(data)
    (tmp_path / "out").touch()

    def child():
        os.dup2(os.open(tmp_path / "out", os.O_WRONLY), 1)
        return _run([SHELL, "-c", f"cat {tmp_path / 'data'}; exit 3"], {"PATH": os.environ["PATH"]}, diagnostics)

    assert in_child(child) == 3
    assert (tmp_path / "out").read_bytes() == data


@pytest.mark.parametrize("first", ["ready\\n", "prompt> ", "LOG TRAP: mine\\n", "LOG TRAP: mine\\nmore\\n"])
def test_what_is_printed_is_there_while_the_guest_goes_on(first):
    def child():
        reader, writer = os.pipe()
        os.dup2(writer, 1)
        os.close(writer)
        pid = os.fork()
        if pid == 0:
            _run([SHELL, "-c", f"printf '{first}'; exec sleep 60"], {"PATH": os.environ["PATH"]}, LOGGED)
        text = first.encode().decode("unicode_escape").encode()
        said = b""
        while len(said) < len(text) and select.select([reader], [], [], 20)[0]:
            said += os.read(reader, 100)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return said == text

    assert in_child(child)


def test_an_engine_that_dies_is_reported_by_its_signal():
    assert run("kill -ABRT $$") == (134, "", "pelagos: the engine was ended by SIGABRT\n")


def test_a_program_that_is_gone_is_reported():
    def child():
        return _run(["/proc/none"], {}, None)

    assert in_child(child) == 127


def test_a_fork_that_fails_is_no_program_that_is_gone(monkeypatch):
    def fail():
        raise OSError(errno.EAGAIN, "no process is left")

    monkeypatch.setattr(os, "fork", fail)
    with pytest.raises(OSError, match="no process is left"):
        _run([SHELL, "-c", "exit 0"], {}, None)


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


@pytest.mark.parametrize(
    ("arguments", "version"),
    [(("--version",), r"\d+\.\d+"), (("--help",), "help"), ((), "$"), (("--none-such",), None)],
)
def test_a_program_prints_its_version_in_its_own_way(arguments, version):
    class Other(Cat):
        version_arguments = arguments

        def version(self, output):
            return "help" if "Usage" in output else super().version(output)

    other = Other()
    other.pelagos_configure({})
    if version is None:
        with pytest.raises(FailedPrecondition, match="cannot be run"):
            other.pelagos_describe()
    else:
        assert re.match(version, other.pelagos_describe().version)


def test_a_program_that_is_not_there_is_reported_with_its_remedy():
    cat = Cat()
    cat.pelagos_configure({"program": "/proc/none"})
    assert cat.pelagos_describe().obstacle == "program '/proc/none' does not exist or cannot be executed: get a cat"
    assert "get a cat" in cat.pelagos_detect(BUNDLE, entrypoint()).reason
    with pytest.raises(InvalidArgument, match=r"unknown setting 'x' \(known: program, root\)"):
        cat.pelagos_configure({"x": 1})


@dataclass(frozen=True)
class Init:
    """What `pelagos_signal` needs of a container's init process."""

    pid: int


def test_an_engine_is_stopped_and_continued():
    with child.fork_reporting(_with_an_engine) as init:
        engine = int(init.read(10))
        try:
            ProgramBackend().pelagos_signal(Init(init.pid), signal.SIGSTOP)
            assert _becomes(engine, "T")
            ProgramBackend().pelagos_signal(Init(init.pid), signal.SIGCONT)
            assert _becomes(engine, "S")
        finally:
            os.kill(engine, signal.SIGKILL)


def test_a_process_that_has_the_number_of_an_engine_is_not_stopped(monkeypatch):
    other = child.fork(signal.pause)
    with other, child.fork(signal.pause) as init:
        monkeypatch.setattr(program_backend, "children", lambda _: [other.pid])  # as the parent has read it before
        ProgramBackend().pelagos_signal(Init(init.pid), signal.SIGSTOP)
        time.sleep(0.05)
        assert _state(other.pid) != "T"


def _with_an_engine(report):
    os.write(report, str(child.fork(signal.pause).pid).encode())
    signal.pause()


def _becomes(pid, letter):
    """Whether its state in proc(5) becomes this one within some seconds."""
    deadline = time.monotonic() + 5
    while _state(pid) != letter and time.monotonic() < deadline:
        time.sleep(0.01)
    return _state(pid) == letter


def _state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
