"""A person at a terminal: a command in a pseudo-terminal, and what is typed at what is seen."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios


def at_terminal(words: list[str], typed: dict[bytes, bytes], size: tuple[int, int] = (80, 24)) -> tuple[int, str]:
    """Run a command in a terminal of its own; (its exit code, all that was on the screen).

    typed: what to type once a text is on the screen.
    """
    pid, master = pty.fork()
    if pid == 0:
        os.execv(words[0], words)
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    screen = b""
    waiting = dict(typed)
    try:
        while chunk := os.read(master, 65536):
            screen += chunk
            for shown in [shown for shown in waiting if shown in screen]:
                os.write(master, waiting.pop(shown))
    except OSError:
        pass  # EIO: everybody has closed it
    os.close(master)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), screen.decode()
