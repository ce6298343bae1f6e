"""Connections that are taken in, those that have to wait, and a process out of descriptors."""

import asyncio
import contextlib
import itertools
import os
import resource
import socket
import tempfile

import pytest

from pelagos_core.ttrpc import acceptor as module
from pelagos_core.ttrpc.acceptor import Acceptor, most
from tests.support.patience import until


class Peers:
    """The acceptor's end of each connection: those that are open, and how many there have been."""

    def __init__(self, listener, limit):
        self.transports = []
        self.taken_in = 0
        self.acceptor = Acceptor(listener, lambda: _Peer(self), limit)

    async def until(self, *, open, taken_in):
        """Wait until so many are open, of so many that there have been."""
        await until(lambda: (len(self.transports), self.taken_in) == (open, taken_in))


class _Peer(asyncio.Protocol):
    def __init__(self, peers):
        self._peers = peers

    def connection_made(self, transport):
        self._transport = transport
        self._peers.transports.append(transport)
        self._peers.taken_in += 1

    def connection_lost(self, exc):
        self._peers.transports.remove(self._transport)
        self._peers.acceptor.left()


@contextlib.asynccontextmanager
async def accepting(limit):
    """(the peers, the path to connect to)."""
    with tempfile.TemporaryDirectory(prefix="pelagos-") as directory, contextlib.ExitStack() as stack:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{directory}/s")
        listener.listen()
        peers = Peers(listener, limit)

        def connect():
            return stack.enter_context(_connected(f"{directory}/s"))

        try:
            yield peers, connect
        finally:
            peers.acceptor.close()
            stack.close()
            await peers.until(open=0, taken_in=peers.taken_in)


def _connected(path):
    client = socket.socket(socket.AF_UNIX)
    try:
        client.connect(path)
    except OSError:
        client.close()
        raise
    return client


async def test_at_the_limit_a_connection_waits_until_another_is_closed(caplog):
    async with accepting(limit=3) as (peers, connect):
        clients = [connect() for _ in range(5)]
        for left, client in enumerate(clients):
            await peers.until(open=min(3, 5 - left), taken_in=min(3 + left, 5))
            client.close()
        assert [record.getMessage() for record in caplog.records] == [
            "3 connections: new ones wait until one of them ends"
        ]


async def test_without_descriptors_it_tries_again_later_and_says_so_once_for_each_try(monkeypatch, caplog):
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.05)
    async with accepting(limit=100) as (peers, connect):
        clients = [connect() for _ in range(4)]
        with _no_more_descriptors():
            await until(lambda: len(caplog.records) >= 3)
            assert peers.transports == []
        await peers.until(open=4, taken_in=4)
        said = "no connection can be accepted for 0.05 s: Too many open files"
        assert {record.getMessage() for record in caplog.records} == {said}
        assert all(after.created - before.created > 0.04 for before, after in itertools.pairwise(caplog.records))
        for client in clients:
            client.close()
        await peers.until(open=0, taken_in=4)


async def test_a_closed_one_accepts_no_connection_and_keeps_the_others():
    async with accepting(limit=2) as (peers, connect):
        first = connect()
        await peers.until(open=1, taken_in=1)
        peers.acceptor.close()
        with pytest.raises(ConnectionRefusedError):
            connect()
        peers.transports[0].write(b"x")
        assert first.recv(1) == b"x"


@pytest.mark.parametrize(("descriptors", "count"), [(100, 50), (resource.RLIM_INFINITY, 4096), (1 << 20, 4096)])
def test_half_of_the_descriptors_are_for_other_things(monkeypatch, descriptors, count):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (descriptors, descriptors))
    assert most() == count


@contextlib.contextmanager
def _no_more_descriptors():
    """A limit that is used up by what is open now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
