"""Detection of the end of the `pelagos run` command that started a daemon."""

from __future__ import annotations

import asyncio
import contextlib
import os

from pelagos_core.daemon import runs


async def wait_for_end(directory: str) -> None:
    """Wait until the command of a run has ended. In the daemon, on the event loop.

    directory: of the run. A missing directory means that the command has ended.
    """
    try:
        fd = os.open(os.path.join(directory, runs.ALIVE), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        # poll(2) reports no end for a FIFO that had no writer since it was opened; read(2) does.
        with contextlib.suppress(BlockingIOError):
            os.read(fd, 1)
            return
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        loop.add_reader(fd, _resolve, ended)
        try:
            await ended
        finally:
            loop.remove_reader(fd)
    finally:
        os.close(fd)


def _resolve(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)
