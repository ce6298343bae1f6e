"""Resets inherited state in a forked child that continues in Python: signal handlers and descriptors.

A process that executes a plan does the same by the compiled library (`restore_signals`, `end_with_parent`,
`keep_slots` in native/process/). These functions are for children that run before or without a plan.
"""

from __future__ import annotations

import os
import select
import signal

from pelagos_core.linux import credentials, syscalls

_FIRST = 3  # below are the standard streams


def restore_signals() -> None:
    """Restore the default actions of the signals that the daemon handles. SIGPIPE stays ignored."""
    signal.set_wakeup_fd(-1)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD):
        signal.signal(signum, signal.SIG_DFL)


def end_with_parent(line: int) -> None:
    """Exit when the parent exits, or if it has exited before the call.

    line: a pipe or socket whose other end only the parent has. A change of credentials clears the parent-death
    signal (prctl(2)): call this again after that.
    """
    credentials.die_with_parent(signal.SIGKILL)
    poll = select.poll()
    poll.register(line, 0)
    if poll.poll(0):  # POLLERR or POLLHUP: the other end is closed
        os._exit(1)


def close_all_but(*kept: int) -> None:
    """Close every descriptor from 3 on but these: a fork inherits all of them, also those with O_CLOEXEC."""
    first = _FIRST
    for fd in sorted({fd for fd in kept if fd >= _FIRST}):
        if fd > first:
            syscalls.close_range(first, fd - 1)
        first = fd + 1
    syscalls.close_range(first)
