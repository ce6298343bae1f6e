"""Copying from one descriptor to another, on the daemon's event loop.

It never blocks, and holds at most one chunk: it reads the next one after the first is written.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

_CHUNK = 64 << 10
_MAX_READS = 64  # in `pump`: one read of a terminal returns up to 4 KiB, and its buffers hold 64 KiB


class Relay:
    """Copies in one direction. The caller owns both descriptors, which must be O_NONBLOCK.

    written: the number of bytes written to the target.
    """

    def __init__(self, source: int, target: int, ended: Callable[[], None]) -> None:
        """ended: called once at the end of the source, after the last byte was written."""
        self._source = source
        self._target = target
        self._ended = ended
        self._pending = b""
        self._running = False
        self._discarding = False
        self.written = 0

    @property
    def is_held_up(self) -> bool:
        """Whether it waits until the target is writable."""
        return bool(self._pending)

    def start(self) -> None:
        """Begin copying."""
        self._running = True
        self._wait_for_source()

    def discard(self) -> None:
        """Drop all bytes that are read from now on: the target has no reader any more."""
        self._discarding = True
        if self._pending:
            self._write()

    def stop(self) -> None:
        """Stop copying."""
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
        """Copy pending bytes without waiting, as far as the target accepts them.

        At most the size of a terminal's buffers: a program that keeps writing must not block the event loop.
        """
        for _ in range(_MAX_READS):
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
            self._pending = b""  # EIO: no process has the slave open (pty(7))
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
            self.written += count
        except BlockingIOError:
            pass
        except OSError:
            self._pending = b""  # a permanent error: a full disk, a terminal or reader that is closed
        loop = asyncio.get_running_loop()
        if self._pending:
            loop.remove_reader(self._source)
            loop.add_writer(self._target, self._write)
        else:
            loop.remove_writer(self._target)
            self._wait_for_source()
