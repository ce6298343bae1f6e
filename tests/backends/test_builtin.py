"""Signal and wait by pidfd, on real children."""

import os
import signal

import pytest

from pelagos_core.backends import builtin


class Process:
    """A child that waits for its end, as the hooks see it."""

    def __init__(self, code=None):
        self.termination_signal = 0
        self.pid = os.fork()
        if self.pid == 0:
            if code is not None:
                os._exit(code)
            while True:
                signal.pause()
        self.pidfd = os.pidfd_open(self.pid)


@pytest.fixture
def process():
    child = Process()
    yield child
    os.close(child.pidfd)


@pytest.mark.parametrize(("signum", "code"), [(15, 143), (9, 137), (2, 130), (1, 129), (34, 162)])
async def test_a_terminating_signal_ends_it_at_once_as_itself(process, signum, code):
    builtin.pelagos_signal(process, signum)
    assert (await builtin.pelagos_wait(process)).code == code


async def test_signals_that_end_nothing_end_nothing(process):
    for signum in (signal.SIGCHLD, signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT):
        builtin.pelagos_signal(process, signum)
    assert process.termination_signal == 0
    builtin.pelagos_signal(process, signal.SIGKILL)
    assert (await builtin.pelagos_wait(process)).code == 137


async def test_the_first_of_two_signals_is_reported(process):
    builtin.pelagos_signal(process, signal.SIGTERM)
    builtin.pelagos_signal(process, signal.SIGINT)
    assert (await builtin.pelagos_wait(process)).code == 143


async def test_an_exit_of_its_own_keeps_its_code_though_a_signal_was_on_the_way():
    child = Process(code=7)
    child.termination_signal = signal.SIGTERM
    assert (await builtin.pelagos_wait(child)).code == 7
    os.close(child.pidfd)
