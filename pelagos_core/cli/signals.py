"""The signals that `pelagos run` gets: they are its program's, as with docker's --sig-proxy."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

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


class Signals:
    """Takes every signal from now on: while there is no program one that is deadly ends the command.

    ended: has that signal's number then.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._program: Callable[[int], None] | None = None
        self.ended: asyncio.Future[int] = self._loop.create_future()
        for signum in sorted(signal.valid_signals() - _OURS):
            if signum == signal.SIGHUP and signal.getsignal(signum) == signal.SIG_IGN:
                continue  # nohup(1): it is to outlive the terminal
            self._loop.add_signal_handler(signum, self._take, signum)

    def pass_on(self, program: Callable[[int], None] | None) -> None:
        """Give the program each signal from now on; None once it has ended."""
        self._program = program

    def _take(self, signum: int) -> None:
        if self._program:
            self._program(signum)
        elif signum not in _HARMLESS and not self.ended.done():
            self.ended.set_result(signum)
