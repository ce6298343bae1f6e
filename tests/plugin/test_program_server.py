"""A program that serves: when it counts as started, and what it says if it does not."""

import os
import re
import signal
import threading
import time

import pytest

from pelagos_core.errors import FailedPrecondition
from pelagos_core.linux import syscalls
from pelagos_core.plugin.program_server import ProgramServer, StartedProgram
from tests.support.absent import ABSENT
from tests.support.child import in_child

LISTENING = re.compile(rb"(?m)^Serving on [^\n]*\n")
FAILURE = re.compile(r"Error: (.*)")


def run(script):
    """(exit code or error, whether it has listened, stderr) of a shell script as the program."""

    def child():
        reader, writer = os.pipe()
        os.dup2(writer, 2)
        os.close(writer)
        told = []
        server = ProgramServer(("/bin/sh", "-c", script), {}, "'/app' cannot be served", LISTENING, FAILURE).server()
        try:
            outcome = server.run(lambda: told.append(True))
        except FailedPrecondition as error:
            outcome = error.message
        os.close(2)
        return outcome, told, os.read(reader, 1 << 16).decode()

    return in_child(child)


def test_it_has_started_with_the_line_which_is_no_output():
    script = "echo before >&2; echo Serving on 1 >&2; echo Serving on 2 >&2; exit 3"
    assert run(script) == (3, [True], "before\nServing on 2\n")


def test_output_passes_through_in_pieces():
    assert run("printf 'Serving on 1\nhalf' >&2; exit 0") == (0, [True], "half")


def test_what_keeps_it_from_that_is_the_error():
    assert run("echo 'Error: Address already in use' >&2; exit 1")[:2] == (
        "'/app' cannot be served: Address already in use",
        [],
    )
    assert run("exit 7")[0] == "'/app' cannot be served: the server has exited with 7"


def test_a_program_that_is_not_there_is_an_error():
    server = ProgramServer((ABSENT,), {}, "'/app' cannot be served", LISTENING, FAILURE).server()
    with pytest.raises(FailedPrecondition, match="No such file"):
        server.run(lambda: None)


def test_a_program_that_has_closed_its_stderr_is_signalled_too():
    def child():
        script = "trap 'exit 5' TERM; echo Serving on 1 >&2; exec 2>&-; while :; do sleep 0.05; done"
        program = StartedProgram(ProgramServer(("/bin/sh", "-c", script), {}, "", LISTENING, FAILURE))
        program.listening()
        codes = []
        waiting = threading.Thread(target=lambda: codes.append(program.wait()))
        waiting.start()
        time.sleep(0.2)
        program.end(signal.SIGTERM)
        waiting.join(5)
        is_deaf = waiting.is_alive()
        program.end(signal.SIGKILL)
        return is_deaf, codes

    assert in_child(child) == (False, [5])


def test_a_reaped_program_is_not_signalled(monkeypatch):
    def child():
        program = StartedProgram(ProgramServer(("/bin/sh", "-c", "exit 0"), {}, "", LISTENING, FAILURE))
        reap, order = program._process.reap, []

        def slowly():
            result = reap()
            time.sleep(0.3)  # its number is free from now on
            return result

        monkeypatch.setattr(program._process, "reap", slowly)
        monkeypatch.setattr(syscalls, "tgkill", lambda *_: order.append("signalled"))
        waiting = threading.Thread(target=program.wait)
        waiting.start()
        time.sleep(0.15)
        program.end(signal.SIGTERM)
        waiting.join()
        return order

    assert in_child(child) == []


def test_what_is_for_a_person_at_a_terminal_is_left_out():
    def child():
        reader, writer = os.pipe()
        os.dup2(writer, 2)
        os.close(writer)
        words = ("/bin/sh", "-c", "printf 'Serving on 1\n' >&2; sleep 0.1; printf 'press a key\nbye\n' >&2")
        hidden = re.compile(rb"(?m)^press a key\n")
        ProgramServer(words, {}, "", LISTENING, FAILURE, hidden).server().run(lambda: None)
        os.close(2)
        return os.read(reader, 1 << 16).decode()

    assert in_child(child) == "bye\n"
