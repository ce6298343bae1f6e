"""Waits for several events in the single thread of a command.

asyncio could do this too, but its import takes a quarter of the time of a whole `pelagos run`. There are no tasks: a
command does one thing after another, and callbacks handle events in between.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple

Callback = Callable[[], object]


class _Timer(NamedTuple):
    at: float
    callback: Callback


class Waiting:
    """The events for which a command waits: readable descriptors, timers, and callbacks from other threads.

    Callbacks run only in `until` and `look`. An exception of a callback reaches the caller of these methods; the
    remaining events are handled at the next call.
    """

    def __init__(self) -> None:
        self._poll = select.poll()
        self._readers: dict[int, Callback] = {}
        self._timers: list[_Timer] = []
        self._posted: deque[Callback] = deque()
        self._woken, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._lock = threading.Lock()  # held while the pipe is written to or closed
        self.on_readable(self._woken, self._wake)

    def __enter__(self) -> Waiting:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.forget(self._woken)
        with self._lock:
            os.close(self._woken)
            os.close(self._waker)
            self._waker = -1

    def on_readable(self, fd: int, callback: Callback) -> None:
        """Call `callback` whenever the descriptor is readable or at its end, until `forget`."""
        self._readers[fd] = callback
        self._poll.register(fd, select.POLLIN)

    def forget(self, fd: int) -> None:
        """Stop watching a descriptor. Call it before the descriptor is closed."""
        if self._readers.pop(fd, None):
            self._poll.unregister(fd)

    def after(self, seconds: float, callback: Callback) -> None:
        """Call `callback` once, after `seconds`."""
        self._timers.append(_Timer(time.monotonic() + seconds, callback))

    def post(self, callback: Callback) -> None:
        """Call `callback` at the next wait. Any thread may call this method."""
        self._posted.append(callback)
        with self._lock:
            if self._waker >= 0:
                with contextlib.suppress(BlockingIOError):  # the pipe is full, so it is readable already
                    os.write(self._waker, b"\0")

    def until(self, done: Callable[[], object], seconds: float | None = None) -> bool:
        """Wait until `done()` is true; it is called after each event. Returns False after `seconds`."""
        end = None if seconds is None else time.monotonic() + seconds
        while not done():
            if end is not None and time.monotonic() >= end:
                return False
            self._turn(end)
        return True

    def look(self) -> None:
        """Handle pending events without waiting."""
        self._turn(0.0)

    def _turn(self, end: float | None) -> None:
        """Wait for events, at most until `end` (monotonic seconds), and run their callbacks."""
        for fd, _ in self._poll.poll(self._milliseconds(end)):
            if callback := self._readers.get(fd):
                callback()
        while self._posted:
            self._posted.popleft()()
        now = time.monotonic()
        for timer in [timer for timer in self._timers if timer.at <= now]:
            self._timers.remove(timer)
            timer.callback()

    def _milliseconds(self, end: float | None) -> int | None:
        """The time until the next timer or `end`, in milliseconds; None if there is neither."""
        if self._posted:
            return 0
        moments = [timer.at for timer in self._timers] + ([] if end is None else [end])
        if not moments:
            return None
        seconds = min(moments) - time.monotonic()
        # Round up: otherwise the last part of a millisecond would be a busy loop.
        return int(seconds * 1000) + 1 if seconds > 0 else 0

    def _wake(self) -> None:
        os.read(self._woken, 1024)
