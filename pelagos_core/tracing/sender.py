"""Exports finished spans in batches; a forked child process sends each batch and exits.

The exporters of OpenTelemetry start threads and wait for the network. A daemon has one thread, because it forks, and
must not block. So it queues spans, and a child sends them with the unchanged exporter. The child has a copy of the
daemon's memory, so the spans need not be encoded for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from pelagos_core.linux import child, forked
from pelagos_core.linux.child import Child
from pelagos_core.native.process_name import rename

log = logging.getLogger(__name__)

DELAY_SECONDS = 5.0  # the default of OpenTelemetry's batches (OTEL_BSP_SCHEDULE_DELAY)
BATCH = 512
MOST = 2048
SEND_SECONDS = 30.0  # longer than all retries of the exporter
_NAME = "pelagos-traces"
_Item = TypeVar("_Item")


class Sender(Generic[_Item]):
    """Queues items and sends them in batches after a delay. Runs on the daemon's event loop."""

    def __init__(self, deliver: Callable[[Sequence[_Item]], bool], delay: float = DELAY_SECONDS) -> None:
        """Arguments: deliver: sends a batch, in the child; returns whether that succeeded. delay: in seconds."""
        self._deliver = deliver
        self._delay = delay
        self._queue: list[_Item] = []
        self._lost = 0
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None
        self._fails = False

    def put(self, item: _Item) -> None:
        """Queue an item. It is dropped if the queue has MOST items; the next batch logs the number of dropped items."""
        if len(self._queue) >= MOST:
            self._lost += 1
            return
        self._queue.append(item)
        if self._sending is None and (self._timer is None or len(self._queue) == BATCH):
            self._schedule(0.0 if len(self._queue) >= BATCH else self._delay)

    def close(self) -> None:
        """Send the rest in a child that may outlive the daemon, by at most SEND_SECONDS."""
        if self._timer:
            self._timer.cancel()
        if self._sending:
            self._sending.cancel()
        if self._queue:
            with contextlib.suppress(OSError):
                self._fork().release()

    def _schedule(self, seconds: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._sending = asyncio.ensure_future(self._send())

    async def _send(self) -> None:
        if self._lost:
            log.warning("traces: %d spans were dropped", self._lost)
            self._lost = 0
        try:
            await self._sent(self._fork())
        except OSError as error:
            log.warning("traces cannot be sent: %s", error)
        finally:
            self._sending = None
        if self._queue:
            self._schedule(self._delay)

    async def _sent(self, sending: Child) -> None:
        try:
            ended = await sending.ended()  # alarm(2) limits its time
        except asyncio.CancelledError:
            sending.release()  # the daemon exits, the child continues
            raise
        sending.close()
        self._report(failed=ended.si_status != 0)

    def _report(self, *, failed: bool) -> None:
        """Log a change only: with an unreachable collector, each batch would add a line to the log."""
        if failed and not self._fails:
            log.warning("traces are not accepted by the collector; further failures are not logged")
        self._fails = failed

    def _fork(self) -> Child:
        """Fork a child that sends the queued items, and empty the queue. Raises OSError."""
        batch, self._queue = self._queue, []
        return child.fork(lambda: self._run(batch))

    def _run(self, batch: Sequence[_Item]) -> int:
        """Send a batch, in the child. It closes the daemon's descriptors, so that no process waits for their end."""
        rename(_NAME)
        forked.restore_signals()
        forked.close_all_but()
        null = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(null, stream)
        signal.alarm(int(SEND_SECONDS))
        return 0 if self._deliver(batch) else 1
