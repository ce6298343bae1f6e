"""What is said while something takes its time: on a terminal, and elsewhere."""

import subprocess
import sys

import pytest

from tests.support.screen import at_terminal

SLOW = """
import sys
from pelagos_core.cli import progress
from pelagos_core.cli.waiting import Waiting
progress._LOG_SECONDS = 0.2

with Waiting() as waiting:
    line = progress.Progress("compiling x.wasm").keep_up(waiting)
    waiting.until(lambda: False, float(sys.argv[1]))
    line.close()
    print("done")
"""


def command(seconds):
    return [sys.executable, "-c", SLOW, str(seconds)]


def test_a_terminal_sees_the_seconds_and_then_nothing_of_it():
    _, screen = at_terminal(command(1.2), {})
    assert "pelagos: compiling x.wasm … 1 s" in screen
    assert screen.endswith("\r\x1b[Kdone\r\n")


def test_what_is_quick_is_not_reported_of():
    assert at_terminal(command(0.1), {})[1] == "done\r\n"
    assert subprocess.run(command(0), capture_output=True, text=True).stderr == ""


def test_elsewhere_it_is_one_line_on_stderr():
    done = subprocess.run(command(0.8), capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("done\n", "pelagos: compiling x.wasm (for 0 s already)\n")


COMPUTING = """
import os, sys, time
from pelagos_core.cli import progress
progress._LOG_SECONDS = 0.2

with progress.shown("loading the engines") as say:
    if sys.argv[2] == "forked" and (pid := os.fork()):
        os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    time.sleep(float(sys.argv[1]))
    say("asking the engines")
    time.sleep(float(sys.argv[1]))
    if sys.argv[2] == "fails":
        raise SystemExit("no")
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), 9)
print("done")
"""


def computing(seconds, how="alone"):
    return [sys.executable, "-c", COMPUTING, str(seconds), how]


@pytest.mark.parametrize("how", ["alone", "forked"])
def test_a_command_that_computes_shows_it_too_also_where_it_goes_on_in_a_fork(how):
    code, screen = at_terminal(computing(1.2, how), {})
    assert code == 0
    assert "pelagos: loading the engines … 1 s" in screen
    assert "pelagos: asking the engines … 2 s" in screen
    assert screen.endswith("\r\x1b[Kdone\r\n")


def test_what_fails_takes_its_line_away():
    code, screen = at_terminal(computing(0.7, "fails"), {})
    assert (code, screen.rpartition("\x1b[K")[2]) == (1, "no\r\n")


def test_a_command_that_is_killed_leaves_no_process_that_draws():
    done = subprocess.run(
        computing(0.1, "killed"), capture_output=True, text=True, timeout=20
    )  # to the end of the pipe
    assert done.returncode == -9


def test_in_a_pipe_a_computation_is_reported_once_and_a_short_one_not():
    done = subprocess.run(computing(0.8), capture_output=True, text=True)
    assert done.stdout == "done\n"
    assert done.stderr == "pelagos: asking the engines (for 0 s already)\n" or done.stderr.startswith(
        "pelagos: loading"
    )
    assert done.stderr.count("\n") == 1
    assert subprocess.run(computing(0), capture_output=True, text=True).stderr == ""


def test_a_terminal_that_cannot_draw_again_gets_a_line_as_a_pipe_does(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    _, screen = at_terminal(computing(0.8), {})
    assert "\x1b" not in screen
    assert screen.count("already)") == 1
