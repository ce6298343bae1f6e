"""The signals that `pelagos run` gets: they are its program's, as with docker's --sig-proxy."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from pelagos_core.cli.waiting import Waiting

# signal(7): what no handler can take; what the kernel sends for a fault of our own; what is about
# our own children, pipes, and turns at the terminal.
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
# Those that end no process by default.
_HARMLESS = frozenset({signal.SIGCONT, signal.SIGURG, signal.SIGWINCH, signal.SIGTSTP})
_MOST = 1024  # that are read at a time


class Ended(BaseException):
    """A deadly signal has come while there was no program to pass it on to."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class Signals:
    """Takes every signal from now on, to the end of the process; each is dealt with where the command waits.

    While there is no program, the first one that is deadly raises `Ended` there, and later ones do nothing: what
    is cleaned up then is cleaned up to its end.
    """

    def __init__(self, waiting: Waiting) -> None:
        self._program: Callable[[int], None] | None = None
        self._ended = False
        # The number of each signal, as a byte, and not in a handler, which would run in the middle of anything.
        self._taken, taker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(taker, warn_on_full_buffer=False)
        waiting.on_readable(self._taken, self._read)
        for signum in sorted(signal.valid_signals() - _OURS):
            if signum == signal.SIGHUP and signal.getsignal(signum) == signal.SIG_IGN:
                continue  # nohup(1): it is to outlive the terminal
            signal.signal(signum, _handled)

    def pass_on(self, program: Callable[[int], None] | None) -> None:
        """Give the program each signal from now on; None once it has ended."""
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
    """Python's own part: without a handler the signal would not be taken."""
