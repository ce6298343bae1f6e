"""The user's terminal, while a guest uses it."""

from __future__ import annotations

import contextlib
import os
import sys
import termios
import tty
from collections.abc import Iterator


def is_there() -> bool:
    """Whether standard input is a terminal."""
    return sys.stdin.isatty()


def size() -> tuple[int, int]:
    """Its width and height in characters; zeros if standard output is no terminal."""
    try:
        return os.get_terminal_size(1)
    except OSError:
        return (0, 0)


@contextlib.contextmanager
def raw() -> Iterator[None]:
    """Set raw mode for the block: keys are passed to the guest's terminal, which echoes them and creates signals."""
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        # TCSAFLUSH: wait until all output is written, and discard unread keys.
        with contextlib.suppress(termios.error):  # it was closed
            termios.tcsetattr(0, termios.TCSAFLUSH, before)
