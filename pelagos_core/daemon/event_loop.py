"""The daemon's event loop: asyncio's, with the selector of `linux`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

from pelagos_core.linux.epoll import EpollSelector


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` to its end, then cancel the remaining tasks. As asyncio.run."""
    if sys.version_info >= (3, 12):
        asyncio.run(work, loop_factory=_made)
    else:
        _run_by_policy(work)


def _made() -> asyncio.AbstractEventLoop:
    return asyncio.SelectorEventLoop(EpollSelector())


def _run_by_policy(work: Coroutine[Any, Any, None]) -> None:
    """As `run`, on CPython 3.10 and 3.11: their asyncio.run gets the loop from a policy, which is deprecated later."""

    class Policy(asyncio.DefaultEventLoopPolicy):
        def new_event_loop(self) -> asyncio.AbstractEventLoop:
            return _made()

    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(Policy())
    try:
        asyncio.run(work)
    finally:
        asyncio.set_event_loop_policy(before)
