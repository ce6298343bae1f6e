"""Waiting for several things at a time, in the one thread of a command.

asyncio does this too, and to import it takes a quarter of the time of a whole `pelagos run`. Here there are no
tasks: a command does one thing after another, and what comes meanwhile is dealt with by callbacks.
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
    """What may come while a command waits: descriptors that can be read, moments, words of other threads.

    Callbacks run in `until` and `look`, and at no other time. What one raises goes through to the caller
    of these, and leaves all else that has come for the next time.
    """

    def __init__(self) -> None:
        self._poll = select.poll()
        self._readers: dict[int, Callback] = {}
        self._timers: list[_Timer] = []
        self._posted: deque[Callback] = deque()
        self._woken, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._lock = threading.Lock()  # held to write to it, and to close it
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
        """Call it whenever the descriptor can be read, or is at its end, until `forget`."""
        self._readers[fd] = callback
        self._poll.register(fd, select.POLLIN)

    def forget(self, fd: int) -> None:
        """Look at a descriptor no more. To be called before it is closed."""
        if self._readers.pop(fd, None):
            self._poll.unregister(fd)

    def after(self, seconds: float, callback: Callback) -> None:
        """Call it once, when so much time has passed."""
        self._timers.append(_Timer(time.monotonic() + seconds, callback))

    def post(self, callback: Callback) -> None:
        """Call it as soon as this is waited in, if it ever is again. For any thread."""
        self._posted.append(callback)
        with self._lock:
            if self._waker >= 0:
                with contextlib.suppress(BlockingIOError):  # it is full, so it wakes
                    os.write(self._waker, b"\0")

    def until(self, done: Callable[[], object], seconds: float | None = None) -> bool:
        """Wait until `done`, which is asked after each thing that has come. False after `seconds` of waiting."""
        end = None if seconds is None else time.monotonic() + seconds
        while not done():
            if end is not None and time.monotonic() >= end:
                return False
            self._turn(end)
        return True

    def look(self) -> None:
        """Deal with what has come, without waiting for more."""
        self._turn(0.0)

    def _turn(self, end: float | None) -> None:
        """Wait for one thing or more, no longer than to `end`, and run their callbacks."""
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
        """For how long nothing has to be done but by descriptors; None: for ever."""
        if self._posted:
            return 0
        moments = [timer.at for timer in self._timers] + ([] if end is None else [end])
        if not moments:
            return None
        seconds = min(moments) - time.monotonic()
        # One more: what is left of a millisecond would be spent in turns that wait for nothing.
        return int(seconds * 1000) + 1 if seconds > 0 else 0

    def _wake(self) -> None:
        os.read(self._woken, 1024)
