"""Events to containerd: one bounded queue, one sender, in order; nobody ever waits for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import Protocol

from google.protobuf.message import Message

from pelagos_core.api import events_pb2
from pelagos_core.errors import Code, PelagosError
from pelagos_core.task.events import TOPICS, Event, pack, timestamp
from pelagos_core.ttrpc.client import Client
from pelagos_core.ttrpc.service import Service

log = logging.getLogger(__name__)

MAX_QUEUE = 2048
RETRY_SECONDS = (0.1, 0.5, 1.0, 2.0)  # the last one again and again
# containerd, or the way to it, is not there now and will be again.
_AWAY = frozenset({Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED, Code.CANCELLED})
# It has failed, or has a code without a meaning for us: it may do better, but not for ever. Every
# other answer is final.
_UNCLEAR = frozenset({Code.INTERNAL, Code.UNKNOWN})
_UNCLEAR_TRIES = 10
EVENTS = Service(
    "containerd.services.events.ttrpc.v1.Events",
    events_pb2.DESCRIPTOR.services_by_name["Events"],
)


class Sink(Protocol):
    """Where a task puts its events."""

    def publish(self, message: Message) -> None:
        """Queue an event; returns at once."""


class Publisher:
    """Forwards events to containerd's ttrpc socket, over and over until they are taken or refused.

    An event stays at the head of the queue until containerd has answered for it, so that
    none is lost or overtaken while containerd is away. One that containerd refuses is dropped, so
    that those behind it get through. A full queue drops its oldest.
    """

    def __init__(self, address: str, namespace: str) -> None:
        """address: path of containerd's ttrpc socket; empty: events go nowhere."""
        self._address = address
        self._namespace = namespace
        self._queue: deque[Event] = deque()
        self._added = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._client: Client | None = None

    def publish(self, message: Message) -> None:
        """Queue an event; returns at once."""
        if not self._address:
            return
        if len(self._queue) >= MAX_QUEUE:
            log.error("event %s dropped: %d are queued already", self._queue.popleft().topic, MAX_QUEUE)
        self._queue.append(Event(TOPICS[type(message)], message, time.time_ns()))
        self._empty.clear()
        self._added.set()

    async def run(self) -> None:
        """Send what is queued, for ever."""
        while True:
            if not self._queue:
                self._empty.set()
                self._added.clear()
                await self._added.wait()
            await self._settle(self._queue[0])

    async def _settle(self, event: Event) -> None:
        """Send the event at the head until it is taken, refused, or dropped for newer ones."""
        failures = unclear = 0
        while self._queue and self._queue[0] is event:
            error = await self._failure(event)
            unclear += error is not None and error.code in _UNCLEAR
            if error is None or _is_final(error, unclear):
                if error:
                    log.error("event %s dropped, refused by containerd: %s", event.topic, error)
                if self._queue and self._queue[0] is event:
                    self._queue.popleft()
            else:
                log.debug("event %s not sent: %s", event.topic, error)
                await asyncio.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
                failures += 1

    async def flush(self, seconds: float) -> None:
        """Wait until the queue is empty, but no longer than `seconds`."""
        try:
            await asyncio.wait_for(self._empty.wait(), seconds)
        except asyncio.TimeoutError:
            log.warning("%d events were not taken by containerd", len(self._queue))

    async def _failure(self, event: Event) -> PelagosError | None:
        """Send it; the error if containerd has not taken it."""
        try:
            if self._client is None or self._client.closed:
                # By path each time: a restarted containerd has made a new socket there.
                self._client = await Client.connect(self._address, EVENTS)
            # No time limit: a slow containerd would be sent the event once more on the same
            # connection. One that is gone ends the connection.
            await self._client.call("Forward", self._request(event))
        except PelagosError as error:
            return error
        except Exception:
            log.exception("event %s dropped", event.topic)  # the next ones must still get through
        return None

    def _request(self, event: Event) -> events_pb2.ForwardRequest:
        return events_pb2.ForwardRequest(
            envelope=events_pb2.Envelope(
                timestamp=timestamp(event.at),
                namespace=self._namespace,
                topic=event.topic,
                event=pack(event.message),
            )
        )


def _is_final(error: PelagosError, unclear: int) -> bool:
    """Whether it would be answered like this each time; `unclear`: so often it was no clear answer."""
    return error.code not in _AWAY and (error.code not in _UNCLEAR or unclear >= _UNCLEAR_TRIES)
