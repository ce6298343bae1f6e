"""The daemon's event loop: asyncio's own, with our selector."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

from pelagos_core.linux.epoll import EpollSelector


def run(work: Coroutine[Any, Any, None]) -> None:
    """As asyncio.run: to the end of `work`, after which what is left of tasks is cancelled."""
    if sys.version_info >= (3, 12):
        asyncio.run(work, loop_factory=_made)
    else:
        _run_by_policy(work)


def _made() -> asyncio.AbstractEventLoop:
    return asyncio.SelectorEventLoop(EpollSelector())


def _run_by_policy(work: Coroutine[Any, Any, None]) -> None:
    """On CPython 3.10 and 3.11, whose asyncio.run asks a policy for the loop; newer ones have done away with those."""

    class Policy(asyncio.DefaultEventLoopPolicy):
        def new_event_loop(self) -> asyncio.AbstractEventLoop:
            return _made()

    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(Policy())
    try:
        asyncio.run(work)
    finally:
        asyncio.set_event_loop_policy(before)
