"""Hooks of the runtime namespace, which the daemon runs while it serves requests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from pelagos_core import reasons
from pelagos_core.errors import FailedPrecondition
from pelagos_core.launch.oci_hooks import Running, state
from pelagos_core.oci import Hook
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.tracing.spans import span


async def run(hooks: Iterable[Hook], bundle: Bundle, status: str, pid: int) -> None:
    """Run hooks in order. Raises FailedPrecondition at the first that fails."""
    try:
        for hook in hooks:
            with span("hook", process__executable__path=hook.path):
                await _run(hook, state(bundle, status, pid), bundle.path)
    except FailedPrecondition as error:
        raise FailedPrecondition(f"container {bundle.id!r}: {error.message}", reasons.HOOK) from None


async def _run(hook: Hook, stdin: bytes, directory: str) -> None:
    running = Running(hook, stdin, directory)
    too_late = True  # also after a cancellation
    try:
        await asyncio.wait_for(running.child.ended(), hook.timeout)
        too_late = False
    except asyncio.TimeoutError:
        pass
    finally:
        running.finish(too_late=too_late)
