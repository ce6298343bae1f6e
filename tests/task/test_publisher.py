"""Events to containerd, which comes and goes."""

import asyncio
import contextlib
import os
import socket

import pytest
from google.protobuf.empty_pb2 import Empty

from pelagos_core.api import events_pb2
from pelagos_core.errors import (
    AlreadyExists,
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)
from pelagos_core.task import events, publisher
from pelagos_core.task.publisher import Publisher
from pelagos_core.ttrpc.server import Server
from pelagos_core.ttrpc.service import Service
from tests.support.patience import until


class Containerd:
    """An events service that can stop, start again, and go wrong."""

    def __init__(self, path):
        self.path = path
        self.pids = []
        self.errors = []
        self._server = None

    async def forward(self, request):
        assert request.envelope.namespace == "ns"
        assert request.envelope.timestamp.seconds > 0
        if self.errors:
            raise self.errors.pop(0)
        self.pids.append(events.api.TaskStart.FromString(request.envelope.event.value).pid)
        return Empty()

    async def start(self):
        descriptor = events_pb2.DESCRIPTOR.services_by_name["Events"]
        self._server = Server([Service(publisher.EVENTS.name, descriptor, self)])
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen()
        self._server.start(listener)

    async def stop(self):
        await self._server.close(1)
        with contextlib.suppress(FileNotFoundError):  # Python 3.13 has removed it by itself
            os.unlink(self.path)

    async def until(self, pids):
        for _ in range(2000):
            if self.pids == pids:
                return
            await asyncio.sleep(0.002)
        raise AssertionError(self.pids)


@contextlib.asynccontextmanager
async def publishing(monkeypatch, tmp_path, queue=publisher.MAX_QUEUE):
    monkeypatch.setattr(publisher, "RETRY_SECONDS", (0.01,))
    monkeypatch.setattr(publisher, "MAX_QUEUE", queue)
    monkeypatch.chdir(tmp_path)  # pytest's directories are too long for a socket's path
    containerd = Containerd("s")
    sender = Publisher("s", "ns")
    try:
        yield sender, containerd
    finally:
        sender.close()
        await asyncio.sleep(0.01)


def start(pid):
    return events.task_start("c1", pid)


async def test_events_come_in_order(monkeypatch, tmp_path):
    async with publishing(monkeypatch, tmp_path) as (sender, containerd):
        await containerd.start()
        for pid in range(1, 101):
            sender.publish(start(pid))
        await sender.flush(5)
        assert containerd.pids == list(range(1, 101))
        await containerd.stop()


async def test_events_wait_for_a_containerd_that_is_away(monkeypatch, tmp_path):
    async with publishing(monkeypatch, tmp_path) as (sender, containerd):
        sender.publish(start(1))
        await asyncio.sleep(0.03)
        await containerd.start()
        await containerd.until([1])
        await containerd.stop()
        sender.publish(start(2))
        await asyncio.sleep(0.03)
        await containerd.start()
        await containerd.until([1, 2])
        await containerd.stop()


@pytest.mark.parametrize("error", [Unavailable, DeadlineExceeded, ResourceExhausted, Cancelled])
async def test_a_containerd_that_is_away_is_asked_again_and_again(monkeypatch, tmp_path, error):
    async with publishing(monkeypatch, tmp_path) as (sender, containerd):
        await containerd.start()
        containerd.errors = [error("not now")] * 30
        for pid in (1, 2):
            sender.publish(start(pid))
        await containerd.until([1, 2])
        await containerd.stop()


@pytest.mark.parametrize(
    "error", [InvalidArgument, NotFound, AlreadyExists, PermissionDenied, FailedPrecondition, Unimplemented]
)
async def test_an_event_that_is_refused_is_dropped_and_holds_none_up(monkeypatch, tmp_path, caplog, error):
    async with publishing(monkeypatch, tmp_path) as (sender, containerd):
        await containerd.start()
        containerd.errors = [error("never")]
        for pid in (1, 2, 3):
            sender.publish(start(pid))
        await containerd.until([2, 3])
        await containerd.stop()
    assert "event /tasks/start dropped, refused by containerd: never" in caplog.text


async def test_one_that_is_never_answered_clearly_is_sent_some_times_only(monkeypatch, tmp_path):
    async with publishing(monkeypatch, tmp_path) as (sender, containerd):
        await containerd.start()
        containerd.errors = [Internal("a bug of the moment")] * 3
        sender.publish(start(1))
        await containerd.until([1])
        containerd.errors = [Internal("a bug")] * publisher._UNCLEAR_TRIES
        for pid in (2, 3, 4):
            sender.publish(start(pid))
        await containerd.until([1, 3, 4])
        await containerd.stop()


async def test_a_full_queue_loses_its_oldest(monkeypatch, tmp_path):
    async with publishing(monkeypatch, tmp_path, queue=3) as (sender, containerd):
        for pid in range(1, 6):
            sender.publish(start(pid))
        await containerd.start()
        await containerd.until([3, 4, 5])
        await containerd.stop()


async def test_one_that_makes_room_leaves_the_next_all_of_its_tries(monkeypatch, tmp_path):
    async with publishing(monkeypatch, tmp_path, queue=1) as (sender, containerd):
        await containerd.start()
        containerd.errors = [Internal("a bug")] * publisher._UNCLEAR_TRIES
        sender.publish(start(1))
        await until(lambda: len(containerd.errors) == 1)
        sender.publish(start(2))
        await containerd.until([2])
        await containerd.stop()


async def test_a_flush_has_a_time_limit(monkeypatch, tmp_path):
    async with publishing(monkeypatch, tmp_path) as (sender, _):
        sender.publish(start(1))
        await sender.flush(0.02)


@pytest.mark.parametrize("address", [""])
async def test_without_an_address_events_go_nowhere(address):
    sender = Publisher(address, "ns")
    sender.publish(start(1))
    await sender.flush(0.01)
