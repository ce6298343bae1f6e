"""Sends events to containerd in order: one bounded queue, one sender. Callers never wait."""

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
RETRY_SECONDS = (0.1, 0.5, 1.0, 2.0)  # the last one repeats
# containerd cannot be reached now: try again without a limit.
_AWAY = frozenset({Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED, Code.CANCELLED})
# containerd has failed, or sent a code without a defined meaning: try again, a limited number of times.
# Every other error is final.
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
    """Forwards events to containerd's ttrpc socket. Each is repeated until containerd accepts or refuses it.

    An event stays at the head of the queue until containerd has answered, so that no event is
    lost or overtaken while containerd is down. A refused event is dropped, so that it does not
    block the events behind it. A full queue drops its oldest event.
    """

    def __init__(self, address: str, namespace: str) -> None:
        """address: path of containerd's ttrpc socket; empty: events are discarded."""
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
        """Send queued events, until cancelled."""
        while True:
            if not self._queue:
                self._empty.set()
                self._added.clear()
                await self._added.wait()
            await self._settle(self._queue[0])

    async def _settle(self, event: Event) -> None:
        """Send the event at the head until it is accepted, refused, or dropped because the queue is full."""
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
        """Wait until the queue is empty, at most `seconds`."""
        try:
            await asyncio.wait_for(self._empty.wait(), seconds)
        except asyncio.TimeoutError:
            log.warning("%d events were not accepted by containerd", len(self._queue))

    async def _failure(self, event: Event) -> PelagosError | None:
        """Send the event once; return the error if containerd has not accepted it."""
        try:
            if self._client is None or self._client.closed:
                # By path each time: a restarted containerd binds a new socket.
                self._client = await Client.connect(self._address, EVENTS)
            # No time limit: a slow containerd would get the event twice on the same connection.
            # When containerd exits, the connection ends.
            await self._client.call("Forward", self._request(event))
        except PelagosError as error:
            return error
        except Exception:
            log.exception("event %s dropped", event.topic)  # must not stop the events behind it
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
    """Whether to give the event up. unclear: the number of INTERNAL or UNKNOWN answers so far."""
    return error.code not in _AWAY and (error.code not in _UNCLEAR or unclear >= _UNCLEAR_TRIES)
