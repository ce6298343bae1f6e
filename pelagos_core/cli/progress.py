"""Prints the progress of a command to stderr.

`Progress.keep_up` updates it while a command waits by `Waiting`. `shown` updates it while a command computes, or waits
in another way.
"""

from __future__ import annotations

import _socket
import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterator

from pelagos_core.cli import voice
from pelagos_core.cli.waiting import Waiting

_TERMINAL_SECONDS = 0.4  # before the first step
_LOG_SECONDS = 5.0  # before a line is written to a log; on a busy machine, short work takes seconds too
_STEP_SECONDS = 0.5
_MOST_BYTES = 4096  # of a message
_END = "\0"
_CLEAR = "\r\x1b[K"  # ECMA-48: to the first column, erase the line


class Progress:
    """A progress line. On a terminal it shows the seconds and is erased at the end; elsewhere it is printed once.

    doing: the text; it may be changed.
    """

    def __init__(self, doing: str) -> None:
        self.doing = doing
        self._began = time.monotonic()
        self._drawn = self._told = self._closed = False

    def keep_up(self, waiting: Waiting) -> Progress:
        """Update the line automatically while `waiting` waits."""

        def keep_up() -> None:
            if not self._closed:
                self.tick()
                waiting.after(_STEP_SECONDS, keep_up)

        waiting.after(_STEP_SECONDS, keep_up)
        return self

    def tick(self) -> None:
        """Update the line. Call it every half second."""
        seconds = time.monotonic() - self._began
        if not _can_redraw():
            if seconds >= _LOG_SECONDS and not self._told:
                self._told = True
                self._write(f"pelagos: {voice.clean(self.doing)} (for {_LOG_SECONDS:.0f} s already)\n")
        elif seconds >= _TERMINAL_SECONDS:
            self._drawn = True
            # One column less than the terminal has, so that it does not wrap.
            text = f"pelagos: {voice.clean(self.doing)} … {seconds:.0f} s"
            self._write(f"{_CLEAR}{text[: os.get_terminal_size(2).columns - 1]}")

    def close(self) -> None:
        """Erase the line and print no more. Call it before anything else is printed."""
        self._closed = True
        if self._drawn:
            self._write(_CLEAR)
            self._drawn = False

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            os.write(2, text.encode("utf-8", "replace"))


@contextlib.contextmanager
def shown(doing: str) -> Iterator[Callable[[str], None]]:
    """Show a progress line during the block. The block gets a function that changes the text.

    A separate process draws the line. A thread would make it impossible to enter a user namespace; the timer signal is
    used for the backends' time limits; and both are late while an engine computes. The block must not print anything.
    The line is erased at the end of the block, however it ends. The block may continue in a fork of this process, as
    with `Node.load`.
    """
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            for signum in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
                signal.signal(signum, signal.SIG_IGN)  # those of the terminal's group: the end of the command counts
            _draw(Progress(doing), theirs)
        finally:
            os._exit(0)
    theirs.close()

    def say(text: str) -> None:
        with contextlib.suppress(OSError):  # the process was killed
            ours.send(text.encode("utf-8", "replace")[:_MOST_BYTES])

    try:
        yield say
    finally:
        say(_END)
        with contextlib.suppress(OSError):
            ours.recv(1)  # returns when the process has closed its end
        ours.close()
        with contextlib.suppress(ChildProcessError):  # in a fork
            os.waitpid(pid, 0)


def _draw(progress: Progress, told: _socket.socket) -> None:
    """Update a line until the end message arrives, or the command has exited."""
    while True:
        if not select.select([told], [], [], _STEP_SECONDS)[0]:
            progress.tick()
            continue
        said = told.recv(_MOST_BYTES).decode("utf-8", "replace")
        if said in ("", _END):
            progress.close()
            return
        progress.doing = said


def _can_redraw() -> bool:
    return os.isatty(2) and os.environ.get("TERM", "dumb") != "dumb"
