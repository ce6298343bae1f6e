"""Processes by descriptor: pidfd_open(2), and waitid(2) with P_PIDFD."""

from __future__ import annotations

import asyncio
import os


async def readable(fd: int) -> None:
    """Return once `fd` is readable; a pidfd is so when its process has ended. On the caller's event loop."""
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


def reap(pidfd: int) -> os.waitid_result:
    """Wait for the end of a child and reap it. Raises ChildProcessError if that has been done."""
    result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    assert result is not None  # without WNOHANG waitid always has a result
    return result
