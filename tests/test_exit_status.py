"""Exit statuses read off real children."""

import os
import time

import pytest

from pelagos_core.exit_status import ExitStatus, signal_name


@pytest.mark.parametrize(
    ("end", "code"),
    [(lambda: os._exit(7), 7), (lambda: os.kill(os.getpid(), 9), 137), (lambda: os.kill(os.getpid(), 15), 143)],
)
def test_the_code_is_the_exits_or_128_and_the_signal(end, code):
    before = time.time_ns()
    pid = os.fork()
    if pid == 0:
        end()
    status = ExitStatus.from_waitid(os.waitid(os.P_PID, pid, os.WEXITED))
    assert status.code == code
    assert before <= status.exited_at <= time.time_ns()


@pytest.mark.parametrize(("number", "name"), [(9, "SIGKILL"), (40, "signal 40")])
def test_every_signal_has_a_name(number, name):
    assert signal_name(number) == name
