"""A time limit for a backend's Python code, by a timer signal (setitimer(2))."""

from __future__ import annotations

import functools
import signal
import types
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class TooSlow(Exception):
    """Raised in a call of a backend when its time limit has passed."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TooSlow in the main thread after `seconds`, to end Python code that hangs.

    For a backend that hangs in native code or suppresses the exception, the daemon kills the
    process after a longer time.
    """

    def expire(_signum: int, _frame: FrameType | None) -> Any:  # noqa: ANN401 (signal handlers are so typed)
        raise TooSlow(f"no answer in {seconds:g} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@types.coroutine
def in_steps(work: Coroutine[Any, Any, object], seconds: float) -> Generator[Any, Any, object]:
    """Await `work`, and raise TooSlow in any step that blocks the event loop."""
    step: Callable[[], Any] = functools.partial(work.send, None)
    while True:
        try:
            with time_limit(seconds):
                awaited = step()
        except StopIteration as end:
            return end.value
        try:
            yield awaited
        except BaseException as error:  # noqa: BLE001 (a cancellation, which must be raised in the coroutine)
            step = functools.partial(work.throw, error)
        else:
            step = functools.partial(work.send, None)
