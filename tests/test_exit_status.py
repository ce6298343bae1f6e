"""Exit statuses read off real children."""

import os
import time

import pytest

from pelagos_core.exit_status import ExitStatus, ending, signal_name


def child_that(end):
    """What waitid(2) says of a child that has ended like this."""
    pid = os.fork()
    if pid == 0:
        end()
    return os.waitid(os.P_PID, pid, os.WEXITED)


@pytest.mark.parametrize(
    ("end", "code", "words"),
    [
        (lambda: os._exit(7), 7, "the process exited with code 7"),
        (lambda: os.kill(os.getpid(), 9), 137, "the process was killed by SIGKILL"),
        (lambda: os.kill(os.getpid(), 15), 143, "the process was killed by SIGTERM"),
    ],
)
def test_the_code_is_the_exits_or_128_and_the_signal(end, code, words):
    before = time.time_ns()
    result = child_that(end)
    status = ExitStatus.from_waitid(result)
    assert status.code == code
    assert before <= status.exited_at <= time.time_ns()
    assert ending(result) == words


@pytest.mark.parametrize(("number", "name"), [(9, "SIGKILL"), (40, "signal 40")])
def test_every_signal_has_a_name(number, name):
    assert signal_name(number) == name
