"""The user's own terminal, while a guest has it."""

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
    """Pass every key on as it is; the guest's terminal echoes them and makes signals of them."""
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        # TCSAFLUSH: after the output that is still under way; keys that have not been read are dropped.
        with contextlib.suppress(termios.error):  # it was closed
            termios.tcsetattr(0, termios.TCSAFLUSH, before)
