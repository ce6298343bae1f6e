"""What is said while something takes its time: on a terminal, and elsewhere."""

import subprocess
import sys

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


def test_what_is_quick_is_not_told_of():
    assert at_terminal(command(0.1), {})[1] == "done\r\n"
    assert subprocess.run(command(0), capture_output=True, text=True).stderr == ""


def test_elsewhere_it_is_one_line_on_stderr():
    done = subprocess.run(command(0.8), capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("done\n", "pelagos: compiling x.wasm (for 0 s already)\n")
