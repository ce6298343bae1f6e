"""Runs a command in a pseudo-terminal, and types texts when expected output appears."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios

from tests.support.containerd import until


def at_terminal(words: list[str], typed: dict[bytes, bytes], size: tuple[int, int] = (80, 24)) -> tuple[int, str]:
    """Run a command in a new terminal; return its exit code and all output.

    typed: for each expected output, the text to type when it appears; for an empty output, when the terminal is raw.
    """
    pid, master = pty.fork()
    if pid == 0:
        os.execv(words[0], words)
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    screen = b""
    waiting = dict(typed)
    if b"" in waiting:
        until(lambda: _reads_keys(master) or _has_ended(pid), 30)
        os.write(master, waiting.pop(b""))
    try:
        while chunk := os.read(master, 65536):
            screen += chunk
            for shown in [shown for shown in waiting if shown in screen]:
                os.write(master, waiting.pop(shown))
    except OSError:
        pass  # EIO: all processes have closed it
    os.close(master)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), screen.decode()


def _reads_keys(terminal: int) -> bool:
    """Whether a terminal is in raw mode: without line buffering and echo."""
    return not termios.tcgetattr(terminal)[3] & (termios.ICANON | termios.ECHO)


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
