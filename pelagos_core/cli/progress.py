"""What a command says on stderr while something takes its time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time

_TERMINAL_SECONDS = 0.5
_LOG_SECONDS = 5.0  # a line in a log is for what is long: a busy machine needs seconds for anything
_STEP_SECONDS = 0.5
_CLEAR = "\r\x1b[K"  # ECMA-48: to the first column, erase the line


class Progress:
    """A line that says what is being done: on a terminal with the seconds, and gone afterwards; elsewhere once.

    doing: what to say; it may change meanwhile.
    """

    def __init__(self, doing: str) -> None:
        self.doing = doing
        self._began = time.monotonic()
        self._drawn = False
        self._task = asyncio.ensure_future(self._show())

    def close(self) -> None:
        """Take the line away, and say no more. To be called before anything else is printed."""
        self._task.cancel()
        if self._drawn:
            self._write(_CLEAR)
            self._drawn = False

    async def _show(self) -> None:
        if not _can_redraw():
            await asyncio.sleep(_LOG_SECONDS)
            self._write(f"pelagos: {self.doing} (for {_LOG_SECONDS:.0f} s already)\n")
            return
        await asyncio.sleep(_TERMINAL_SECONDS)
        while True:
            self._drawn = True
            # One column less than there is, so that no terminal begins a new line.
            text = f"pelagos: {self.doing} … {time.monotonic() - self._began:.0f} s"
            self._write(f"{_CLEAR}{text[: os.get_terminal_size(2).columns - 1]}")
            await asyncio.sleep(_STEP_SECONDS)

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            os.write(2, text.encode("utf-8", "replace"))


def _can_redraw() -> bool:
    return os.isatty(2) and os.environ.get("TERM", "dumb") != "dumb"
