"""What a command says on stderr while something takes its time."""

from __future__ import annotations

import contextlib
import os
import time

from pelagos_core.cli.waiting import Waiting

_TERMINAL_SECONDS = 0.4  # before the first step
_LOG_SECONDS = 5.0  # a line in a log is for what is long: a busy machine needs seconds for anything
STEP_SECONDS = 0.5
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
                waiting.after(STEP_SECONDS, keep_up)

        waiting.after(STEP_SECONDS, keep_up)
        return self

    def tick(self) -> None:
        """Bring it up to date. To be called every STEP_SECONDS."""
        seconds = time.monotonic() - self._began
        if not _can_redraw():
            if seconds >= _LOG_SECONDS and not self._told:
                self._told = True
                self._write(f"pelagos: {self.doing} (for {_LOG_SECONDS:.0f} s already)\n")
        elif seconds >= _TERMINAL_SECONDS:
            self._drawn = True
            # One column less than there is, so that no terminal begins a new line.
            text = f"pelagos: {self.doing} … {seconds:.0f} s"
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


def _can_redraw() -> bool:
    return os.isatty(2) and os.environ.get("TERM", "dumb") != "dumb"
