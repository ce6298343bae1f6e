"""How finished spans leave a daemon: in batches, each by a child process that sends it and ends.

The exporters of OpenTelemetry have threads and wait for the network. A daemon has one thread, because it forks, and
does not wait. So it queues spans, and a child does the rest with the exporter as it is; the child has the daemon's
memory, so nothing is encoded or copied for it.
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

DELAY_SECONDS = 5.0  # as of OpenTelemetry's own batches (OTEL_BSP_SCHEDULE_DELAY)
BATCH = 512
MOST = 2048
SEND_SECONDS = 30.0  # the exporter's own retries end before
_NAME = "pelagos-traces"
_Item = TypeVar("_Item")


class Sender(Generic[_Item]):
    """Sends what it is given, some seconds later. On the daemon's event loop."""

    def __init__(self, deliver: Callable[[Sequence[_Item]], bool], delay: float = DELAY_SECONDS) -> None:
        """deliver: sends a batch and returns whether it has arrived; called in the child. delay: seconds."""
        self._deliver = deliver
        self._delay = delay
        self._queue: list[_Item] = []
        self._lost = 0
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None
        self._fails = False

    def put(self, item: _Item) -> None:
        """Queue one. Beyond MOST it is dropped, and the number is logged with the next batch."""
        if len(self._queue) >= MOST:
            self._lost += 1
            return
        self._queue.append(item)
        if self._sending is None and (self._timer is None or len(self._queue) == BATCH):
            self._schedule(0.0 if len(self._queue) >= BATCH else self._delay)

    def close(self) -> None:
        """Leave the rest to a child that outlives the daemon, by SEND_SECONDS at the most."""
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
            ended = await sending.ended()  # it ends by its own alarm
        except asyncio.CancelledError:
            sending.release()  # the daemon ends, and what is on its way goes on
            raise
        sending.close()
        self._report(failed=ended.si_status != 0)

    def _report(self, *, failed: bool) -> None:
        """Log a change only: a collector that is away would fill the log."""
        if failed and not self._fails:
            log.warning("traces are not accepted by the collector; further failures are not logged")
        self._fails = failed

    def _fork(self) -> Child:
        """A child that sends what is queued. The queue is empty then. Raises OSError."""
        batch, self._queue = self._queue, []
        return child.fork(lambda: self._run(batch))

    def _run(self, batch: Sequence[_Item]) -> int:
        """In the child: nothing of the daemon's is open, so that neither its log nor its pod waits for this."""
        rename(_NAME)
        forked.restore_signals()
        forked.close_all_but()
        null = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(null, stream)
        signal.alarm(int(SEND_SECONDS))
        return 0 if self._deliver(batch) else 1
