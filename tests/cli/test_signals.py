"""Signals of a command: its program's, or its own end. In processes of their own, which they would end."""

import signal
import subprocess
import sys

import pytest

START = """
import os, signal, sys
from pelagos_core.cli.signals import Ended, Signals
from pelagos_core.cli.waiting import Waiting

with Waiting() as waiting:
    signals = Signals(waiting)
"""


def said(code):
    indented = "\n".join(f"    {line}" for line in code.splitlines())
    done = subprocess.run([sys.executable, "-c", START + indented], capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT", "ALRM", "RTMIN"])
def test_a_deadly_signal_is_raised_where_the_command_waits_and_the_next_ones_are_not(name):
    code = f"""
os.kill(os.getpid(), signal.SIG{name})
try:
    waiting.until(lambda: False, 30)
except Ended as ended:
    print(ended.signum)
os.kill(os.getpid(), signal.SIGTERM)
print(waiting.until(lambda: False, 0.05))
"""
    assert said(code) == (0, f"{signal.Signals[f'SIG{name}'].value}\nFalse\n", "")


def test_one_that_ends_nothing_by_default_is_nothing():
    code = """
for signum in (signal.SIGCONT, signal.SIGURG, signal.SIGWINCH, signal.SIGTSTP):
    os.kill(os.getpid(), signum)
print(waiting.until(lambda: False, 0.05))
"""
    assert said(code) == (0, "False\n", "")


def test_a_program_gets_each_of_them():
    code = """
taken = []
signals.pass_on(taken.append)
for signum in (signal.SIGWINCH, signal.SIGTERM, signal.SIGTERM):
    os.kill(os.getpid(), signum)
waiting.until(lambda: len(taken) == 3, 30)
print(*map(int, taken))
"""
    assert said(code) == (0, f"{signal.SIGWINCH:d} {signal.SIGTERM:d} {signal.SIGTERM:d}\n", "")


def test_nohup_keeps_its_word():
    done = subprocess.run(
        ["nohup", sys.executable, "-c", f"{START}    print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=30,
    )
    assert done.stdout == "True\n"
