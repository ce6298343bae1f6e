"""When a connection is idle, and what a drain does to a server of the test's own."""

import asyncio
import contextlib
import os
import signal
import socket
import time

import pytest

from pelagos_core.linux import child
from pelagos_core.linux.tcp import Connection
from pelagos_core.plugin import drain
from pelagos_core.plugin.drain import Drains, _Seen
from tests.support.patience import until


def seen(received=0, sent=0, since_received=0, since_sent=0, pending=0):
    return Connection(received, sent, since_received, since_sent, pending)


NEW = seen(since_received=100, since_sent=100)
ASKED = seen(10, 0, 100, 900)
ANSWERED = seen(10, 50, 900, 100)
UNSURE = seen(10, 50, 100, 100)
UNREAD = seen(10, 50, 900, 100, pending=1)


@pytest.mark.parametrize(
    ("connection", "seconds", "is_idle"),
    [
        (NEW, 1.9, False),
        (NEW, 2.0, True),
        (ANSWERED, 1.9, False),
        (ANSWERED, 2.0, True),
        (UNSURE, 4.9, False),
        (UNSURE, 5.0, True),
        (ASKED, 1000, False),
        (UNREAD, 1000, False),
    ],
)
def test_a_connection_is_idle_after_an_answer_and_some_time(connection, seconds, is_idle):
    assert _Seen(connection, 0.0).then(connection, seconds).is_idle(seconds) is is_idle


def test_after_several_requests_a_gap_is_enough():
    now = _Seen(seen(10, 50, 900, 100), 0.0)
    for number in (1, 2):
        now = now.then(seen(10 + number, 50 + number, 9, 5), float(number))
        assert not now.is_idle(float(number))
    assert now.has_several
    assert now.then(now.connection, 2.02).is_idle(2.02)


def test_an_upload_and_an_answer_in_pieces_are_not_several_requests():
    upload, stream = _Seen(seen(1, 0, 0, 9), 0.0), _Seen(seen(1, 1, 9, 0), 0.0)
    for number in range(2, 9):
        upload = upload.then(seen(number, 0, 0, 9), float(number))
        stream = stream.then(seen(1, number, 9, 0), float(number))
    assert not upload.has_several
    assert not stream.has_several


class Server:
    """A process whose child serves: it has a listening socket, and takes one connection."""

    def __init__(self, serve):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        self.engine = child.fork(lambda: serve(self._listener))
        self._listener.close()

    pid = os.getpid()
    serves = True
    termination_signal = 0


def _ends_at_sigint(listener):
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    connection = listener.accept()[0]
    while connection.recv(9):
        connection.sendall(b"a")
    connection.close()
    signal.pause()


@pytest.mark.root
async def test_a_drain_closes_what_is_idle_and_then_gives_the_signal():
    process, drains = Server(_ends_at_sigint), Drains()
    with contextlib.closing(process.engine), socket.create_connection(process.address) as connection:
        connection.sendall(b"q")
        assert await asyncio.to_thread(connection.recv, 1) == b"a"
        before = set(os.listdir("/proc/self/fd"))
        begin = time.monotonic()
        assert drains.begin(process, process.engine.pid, signal.SIGINT)
        assert not drains.begin(process, process.engine.pid, signal.SIGINT)
        assert (await process.engine.ended()).si_status == signal.SIGINT
        assert 1.5 < time.monotonic() - begin < 8
        assert await asyncio.to_thread(connection.recv, 1) == b""
        await until(lambda: len(os.listdir("/proc/self/fd")) <= len(before) + 1)  # the engine's pidfd


@pytest.mark.root
async def test_a_number_that_is_another_process_by_now_is_not_signalled():
    process, drains = Server(_ends_at_sigint), Drains()
    with contextlib.closing(process.engine):
        process.pid = 1
        assert not drains.begin(process, process.engine.pid, signal.SIGINT)
        assert process.engine.wait(0.2) is None


@pytest.mark.root
def test_a_request_that_never_ends_is_looked_at_more_and_more_seldom_and_not_for_ever(monkeypatch):
    looks = []
    monkeypatch.setattr(drain, "_REFUSE_SECONDS", 0.0)
    monkeypatch.setattr(drain, "_MOST_SECONDS", 2.0)
    monkeypatch.setattr(drain._Program, "_close_idle", lambda *_: looks.append(time.monotonic()))
    process = Server(lambda listener: signal.pause())
    with contextlib.closing(process.engine):
        began = time.monotonic()
        drain._Program(process.engine.pid, process.engine.fileno()).refuse()
        assert 2.0 <= time.monotonic() - began < 4
        assert 5 < len(looks) < 40
        assert process.engine.wait(0) is None


@pytest.mark.root
async def test_a_server_that_is_gone_needs_none():
    process, drains = Server(lambda listener: 0), Drains()
    process.engine.reap()
    with contextlib.closing(process.engine):
        assert not drains.begin(process, process.engine.pid, signal.SIGINT)
