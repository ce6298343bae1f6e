"""Copying from one descriptor to another, on the daemon's event loop.

It never waits, and holds one chunk at the most: it reads on when that was taken.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

_CHUNK = 64 << 10
_PUMPED = 64  # reads; one of a terminal gives up to 4 KiB, and its buffers hold 64 KiB


class Relay:
    """One direction, between two descriptors that are their owner's. Both must be non-blocking.

    taken: how many bytes the target has taken.
    """

    def __init__(self, source: int, target: int, ended: Callable[[], None]) -> None:
        """ended: called once there is nothing left to read, and all was written."""
        self._source = source
        self._target = target
        self._ended = ended
        self._pending = b""
        self._running = False
        self._discarding = False
        self.taken = 0

    @property
    def is_held_up(self) -> bool:
        """Whether it waits for its target."""
        return bool(self._pending)

    def start(self) -> None:
        """Begin to copy."""
        self._running = True
        self._wait_for_source()

    def discard(self) -> None:
        """Read on, and give it to nobody: the target takes nothing any more."""
        self._discarding = True
        if self._pending:
            self._write()

    def stop(self) -> None:
        """Copy no more."""
        if self._running:
            self._running = False
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._source)
            loop.remove_writer(self._target)

    def _wait_for_source(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            loop.add_reader(self._source, self._read)
        except PermissionError:  # epoll_ctl(2): a file is always ready
            loop.call_soon(self._read)

    def pump(self) -> None:
        """Copy without waiting what there is, as far as it is taken.

        No more than a terminal holds: a program that writes on and on must not hold the event loop.
        """
        for _ in range(_PUMPED):
            if not self._running or self._pending or not self._read():
                break

    def _read(self) -> bool:
        """Returns False if there is nothing to read."""
        if not self._running:
            return False
        try:
            self._pending = os.read(self._source, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            self._pending = b""  # EIO: nobody has the slave open any more
        if self._pending:
            self._write()
            return True
        self.stop()
        self._ended()
        return False

    def _write(self) -> None:
        try:
            count = len(self._pending) if self._discarding else os.write(self._target, self._pending)
            self._pending = self._pending[count:]
            self.taken += count
        except BlockingIOError:
            pass
        except OSError:
            self._pending = b""  # nobody will ever take it: a full disk, a terminal or reader that is gone
        loop = asyncio.get_running_loop()
        if self._pending:
            loop.remove_reader(self._source)
            loop.add_writer(self._target, self._write)
        else:
            loop.remove_writer(self._target)
            self._wait_for_source()
