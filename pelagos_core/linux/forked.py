"""What a forked child resets of the state that it inherits: signal handlers and descriptors."""

from __future__ import annotations

import os
import select
import signal

from pelagos_core.linux import credentials, syscalls

_FIRST = 3  # below are the standard streams


def restore_signals() -> None:
    """Undo the daemon's handlers: a child has the default ones, but no SIGPIPE."""
    signal.set_wakeup_fd(-1)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD):
        signal.signal(signum, signal.SIG_DFL)


def end_with_parent(line: int) -> None:
    """End when the parent ends, also if it has ended before this was asked for.

    line: a pipe or socket whose other end the parent holds. The kernel forgets this when
    credentials change, so it is asked for again after that.
    """
    credentials.die_with_parent(signal.SIGKILL)
    poll = select.poll()
    poll.register(line, 0)
    if poll.poll(0):  # POLLERR or POLLHUP: the other end is closed
        os._exit(1)


def close_all_but(*kept: int) -> None:
    """Close every descriptor from 3 on but these: a fork takes all along, O_CLOEXEC or not."""
    first = _FIRST
    for fd in sorted({fd for fd in kept if fd >= _FIRST}):
        if fd > first:
            syscalls.close_range(first, fd - 1)
        first = fd + 1
    syscalls.close_range(first)
