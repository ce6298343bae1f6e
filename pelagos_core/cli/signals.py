"""Forwards the signals of `pelagos run` to its program, like docker's --sig-proxy."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from pelagos_core.cli.waiting import Waiting

# signal(7): signals that cannot be handled; those that the kernel sends for our own faults; those about
# our own children, pipes and terminal access.
_OURS = frozenset(
    {
        signal.SIGKILL,
        signal.SIGSTOP,
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGCHLD,
        signal.SIGPIPE,
        signal.SIGTTIN,
        signal.SIGTTOU,
    }
)
# Signals whose default action does not end a process.
_HARMLESS = frozenset({signal.SIGCONT, signal.SIGURG, signal.SIGWINCH, signal.SIGTSTP})
_MOST = 1024  # signals that are read at a time


class Ended(BaseException):
    """A deadly signal has arrived while there is no program to forward it to."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class Signals:
    """Handles all signals from now on, until the process exits, at the points where the command waits.

    While there is no program, the first deadly signal raises `Ended` there. Later ones have no effect, so that the
    cleanup is completed.
    """

    def __init__(self, waiting: Waiting) -> None:
        self._program: Callable[[int], None] | None = None
        self._ended = False
        # Python writes the number of each signal to this pipe. A handler could interrupt any code.
        self._taken, taker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(taker, warn_on_full_buffer=False)
        waiting.on_readable(self._taken, self._read)
        for signum in sorted(signal.valid_signals() - _OURS):
            if signum == signal.SIGHUP and signal.getsignal(signum) == signal.SIG_IGN:
                continue  # nohup(1): the process must survive the terminal's end
            signal.signal(signum, _handled)

    def pass_on(self, program: Callable[[int], None] | None) -> None:
        """Call `program` with each signal from now on; None when the program has exited."""
        self._program = program

    def _read(self) -> None:
        for signum in os.read(self._taken, _MOST):
            self._take(signum)

    def _take(self, signum: int) -> None:
        if self._program:
            self._program(signum)
        elif signum not in _HARMLESS and not self._ended:
            self._ended = True
            raise Ended(signum)


def _handled(_signum: int, _frame: object) -> None:
    """An empty handler: without one, Python does not write the signal to the pipe."""
