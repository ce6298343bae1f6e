"""Sends events to containerd in order: one bounded queue, one event in flight. Callers never wait.

There is no asyncio task: `publish` sends an event if none is in flight, and each answer sends the next one.
"""

from __future__ import annotations

import asyncio
import functools
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
_UNREACHABLE = frozenset({Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED, Code.CANCELLED})
# containerd has failed, or sent a code without a defined meaning: try again, a limited number of times.
# Every other error is final.
_UNCLEAR = frozenset({Code.INTERNAL, Code.UNKNOWN})
_UNCLEAR_TRIES = 10
EVENTS = Service(
    "containerd.services.events.ttrpc.v1.Events",
    events_pb2.DESCRIPTOR.services_by_name["Events"],
)


class Sink(Protocol):
    """The interface to which containers publish their events."""

    def publish(self, message: Message) -> None:
        """Queue an event; returns at once."""


class Publisher:
    """Forwards events to containerd's ttrpc socket. Each is sent again until containerd accepts or refuses it.

    An event stays at the head of the queue until containerd has answered, so that no event is
    lost or overtaken while containerd is down. A refused event is dropped, so that it does not
    block the events behind it. A full queue drops its oldest event.
    """

    def __init__(self, address: str, namespace: str) -> None:
        """address: path of containerd's ttrpc socket; empty: events are discarded."""
        self._address = address
        self._namespace = namespace
        self._queue: deque[Event] = deque()
        self._empty = asyncio.Event()
        self._empty.set()
        self._client: Client | None = None
        self._is_closed = self._is_sending = False
        self._failures = self._unclear = 0
        self._retry: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Task[None] | None = None

    def publish(self, message: Message) -> None:
        """Queue an event; returns at once. On the event loop."""
        if not self._address:
            return
        if len(self._queue) >= MAX_QUEUE:
            log.error("event %s dropped: %d are queued already", self._queue.popleft().topic, MAX_QUEUE)
        self._queue.append(Event(TOPICS[type(message)], message, time.time_ns()))
        self._empty.clear()
        if not self._is_sending:
            self._send_next()

    async def flush(self, seconds: float) -> None:
        """Wait until the queue is empty, at most `seconds`."""
        try:
            await asyncio.wait_for(self._empty.wait(), seconds)
        except asyncio.TimeoutError:
            log.warning("%d events were not accepted by containerd", len(self._queue))

    def close(self) -> None:
        """Stop sending, and close the connection."""
        self._is_closed = self._is_sending = True
        for work in (self._retry, self._connecting, self._client):
            if isinstance(work, Client):
                work.close()
            elif work:
                work.cancel()

    def _send_next(self) -> None:
        """Send the event at the head, if there is one."""
        self._failures = self._unclear = 0
        self._is_sending = bool(self._queue)
        if self._queue:
            self._send(self._queue[0])
        else:
            self._empty.set()

    def _send(self, event: Event) -> None:
        """Send the event, unless a full queue has dropped it. `_handle_answer` gets the answer."""
        if not self._is_head(event):
            self._send_next()
        elif self._client is None or self._client.closed:
            self._connecting = asyncio.ensure_future(self._connect(event))
        else:
            try:
                # No time limit: a slow containerd would get the event twice. If containerd exits, the
                # connection ends.
                self._client.ask("Forward", self._request(event), functools.partial(self._handle_answer, event))
            except PelagosError as error:
                self._handle_answer(event, error)
            except Exception:
                log.exception("event %s dropped", event.topic)  # must not stop the events behind it
                asyncio.get_running_loop().call_soon(self._handle_answer, event, None)

    async def _connect(self, event: Event) -> None:
        try:
            # Each attempt connects by path: a restarted containerd binds a new socket.
            self._client = await Client.connect(self._address, EVENTS)
        except PelagosError as error:
            self._handle_answer(event, error)
        else:
            self._send(event)

    def _handle_answer(self, event: Event, error: PelagosError | None) -> None:
        """Handle the answer to an event. error: None if it was accepted; else it is sent again later, or dropped."""
        if self._is_closed:
            return
        self._unclear += error is not None and error.code in _UNCLEAR
        if error is None or _is_final(error, self._unclear):
            if error:
                log.error("event %s dropped, refused by containerd: %s", event.topic, error)
            if self._is_head(event):
                self._queue.popleft()
            self._send_next()
        else:
            log.debug("event %s not sent: %s", event.topic, error)
            seconds = RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS) - 1)]
            self._failures += 1
            self._retry = asyncio.get_running_loop().call_later(seconds, self._send, event)

    def _is_head(self, event: Event) -> bool:
        return bool(self._queue) and self._queue[0] is event

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
    """Whether to drop the event. unclear: the number of INTERNAL or UNKNOWN answers so far."""
    return error.code not in _UNREACHABLE and (error.code not in _UNCLEAR or unclear >= _UNCLEAR_TRIES)
