"""What a command says on stderr while something takes its time.

There are two ways to keep it up to date: `Progress.keep_up` where a command waits by `Waiting`, and `shown` where it
computes, or waits in some other way.
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
_LOG_SECONDS = 5.0  # a line in a log is for what is long: a busy machine needs seconds for anything
_STEP_SECONDS = 0.5
_MOST_BYTES = 4096  # of a text of what is being done
_END = "\0"
_CLEAR = "\r\x1b[K"  # ECMA-48: to the first column, erase the line


class Progress:
    """A line that says what is being done: on a terminal with the seconds, and gone afterwards; elsewhere once.

    doing: what to say; it may change meanwhile.
    """

    def __init__(self, doing: str) -> None:
        self.doing = doing
        self._began = time.monotonic()
        self._drawn = self._told = self._closed = False

    def keep_up(self, waiting: Waiting) -> Progress:
        """Bring it up to date by itself, while this is waited in."""

        def keep_up() -> None:
            if not self._closed:
                self.tick()
                waiting.after(_STEP_SECONDS, keep_up)

        waiting.after(_STEP_SECONDS, keep_up)
        return self

    def tick(self) -> None:
        """Bring it up to date. To be called every half second."""
        seconds = time.monotonic() - self._began
        if not _can_redraw():
            if seconds >= _LOG_SECONDS and not self._told:
                self._told = True
                self._write(f"pelagos: {voice.clean(self.doing)} (for {_LOG_SECONDS:.0f} s already)\n")
        elif seconds >= _TERMINAL_SECONDS:
            self._drawn = True
            # One column less than there is, so that no terminal begins a new line.
            text = f"pelagos: {voice.clean(self.doing)} … {seconds:.0f} s"
            self._write(f"{_CLEAR}{text[: os.get_terminal_size(2).columns - 1]}")

    def close(self) -> None:
        """Take the line away, and say no more. To be called before anything else is printed."""
        self._closed = True
        if self._drawn:
            self._write(_CLEAR)
            self._drawn = False

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            os.write(2, text.encode("utf-8", "replace"))


@contextlib.contextmanager
def shown(doing: str) -> Iterator[Callable[[str], None]]:
    """Say what is being done for as long as the block takes; what it is given changes the text.

    A process of its own draws the line: a thread would keep the command from entering a user namespace, the timer
    signal is that of the backends' time limits, and neither is on time while an engine computes. The block may print
    nothing. At its end, whatever ends it, the line is taken away. The block may go on in a fork of this process, as
    after `Node.load`.
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
        with contextlib.suppress(OSError):  # something has killed it
            ours.send(text.encode("utf-8", "replace")[:_MOST_BYTES])

    try:
        yield say
    finally:
        say(_END)
        with contextlib.suppress(OSError):
            ours.recv(1)  # at its end it is closed
        ours.close()
        with contextlib.suppress(ChildProcessError):  # in a fork
            os.waitpid(pid, 0)


def _draw(progress: Progress, told: _socket.socket) -> None:
    """Keep a line up to date until its end is told, or the command has ended."""
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
