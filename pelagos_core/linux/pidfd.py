"""Processes by descriptor: pidfd_open(2), and waitid(2) with P_PIDFD."""

from __future__ import annotations

import asyncio
import errno
import os
import select

from pelagos_core.linux import process_stat


def open_child(pid: int, parent: int) -> int:
    """Return a pidfd of a child of another process: pidfd_open(2). The caller closes it.

    pid: the child's pid, for example from /proc/PARENT/task/PARENT/children. The parent may have reaped the child
    meanwhile, and the pid may be reused. Raises OSError; ProcessLookupError if the process is not a child of `parent`.
    """
    pidfd = os.pidfd_open(pid)
    try:
        if process_stat.parent(pid) != parent:
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
    except BaseException:
        os.close(pidfd)
        raise
    return pidfd


async def readable(fd: int) -> None:
    """Wait until `fd` is readable; a pidfd is readable when its process has ended. On the caller's event loop."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(fd, wake)
    try:
        await ready
    finally:
        loop.remove_reader(fd)


async def ended(pidfd: int) -> None:
    """Wait until the process has ended, without reaping it. Any number of callers, on the event loop."""
    own = os.dup(pidfd)  # an event loop has one callback for each descriptor
    try:
        await readable(own)
    finally:
        os.close(own)


def reap(pidfd: int) -> os.waitid_result:
    """Wait for the end of a child and reap it. Raises ChildProcessError if it is reaped already."""
    result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    assert result is not None  # waitid(2) without WNOHANG always has a result
    return result


def is_readable(fd: int, seconds: float | None = None) -> bool:
    """Wait until `fd` is readable. Returns whether it is; False after `seconds` (None: no limit)."""
    poll = select.poll()  # a descriptor above 1023 is too large for select(2)
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(None if seconds is None else max(0.0, seconds) * 1000))
