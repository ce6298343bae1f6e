"""What `ps` and `top` show of a forked process, which has its parent's command line otherwise."""

from __future__ import annotations

import contextlib
import os

from pelagos_core.linux import process_stat, syscalls


def set_name(name: str, words: list[str]) -> None:
    """Set the calling process' name, and its command line as far as there is room for it.

    name: 15 bytes are kept. The room is that of the words it was started with. A system that
    does not let us changes nothing.
    """
    with contextlib.suppress(OSError, ValueError):
        syscalls.set_comm(name)
        start, end = process_stat.command_line_area()
        # Up to the last byte, which stays NUL: else the kernel takes the environment for more words.
        room = max(end - start - 1, 0)
        with open("/proc/self/mem", "r+b", buffering=0) as file:
            file.seek(start)
            file.write(os.fsencode("\0".join(words))[:room].ljust(room, b"\0"))
