"""The socket to a process that waits or runs: the go-ahead, and what an engine might send."""

import asyncio
import logging
import signal
import socket

import pytest

from pelagos_core.errors import DeadlineExceeded, FailedPrecondition
from pelagos_core.launch import messages
from pelagos_core.launch.messages import Failed, Listening, Refused
from pelagos_core.task.control import Control

TOO_MUCH = b'["Refused", 1' + b"0" * 400 + b", 2]"


@pytest.fixture
def ends():
    """The socket as the daemon has it, the other end, and the keys that were heard."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    keys = []
    control = Control("container 'c1'", ours, keys.append)
    with ours, theirs:
        yield control, theirs, keys


async def test_the_go_ahead_closes_a_socket_that_is_not_needed(ends):
    control, theirs, _ = ends
    control.start(listens=False)
    assert (theirs.recv(9), theirs.recv(9)) == (messages.GO, b"")


async def test_a_process_that_is_gone_gets_none(ends):
    control, theirs, _ = ends
    theirs.close()
    with pytest.raises(OSError, match="Broken pipe"):
        control.start(listens=True)


async def test_keys_are_heard_and_other_bytes_are_not(ends):
    control, theirs, keys = ends
    control.start(listens=True)
    for byte in (signal.SIGINT, signal.SIGKILL, 0, signal.SIGQUIT):
        theirs.send(bytes([byte]))
    await asyncio.sleep(0.01)
    assert keys == [signal.SIGINT, signal.SIGQUIT]


async def test_what_comes_in_the_last_moment_is_heard_up_to_a_limit(ends):
    control, theirs, keys = ends
    for _ in range(20):
        theirs.send(bytes([signal.SIGINT]))
    control.drain()
    assert len(keys) == 16
    control.drain()


async def test_the_first_refusal_of_memory_is_logged_and_nothing_else(ends, caplog):
    control, theirs, _ = ends
    with caplog.at_level(logging.INFO):
        for datagram in (b"{}", b"\xff\xff", messages.encode(Failed(1, "x")), b'["Refused", "1", 2]', TOO_MUCH):
            theirs.send(datagram)
        theirs.send(messages.encode(Refused(96 << 20, 64 << 20)))
        theirs.send(messages.encode(Refused(97 << 20, 64 << 20)))
        control.drain()
    (record,) = caplog.records
    assert record.getMessage().startswith("container 'c1': the guest asked for 96 MiB of memory;")
    assert record.getMessage().endswith("[PLG-MEMORY]")


async def test_a_server_is_started_when_it_says_so(ends):
    control, theirs, _ = ends
    control.start(listens=True)
    theirs.send(messages.encode(Listening()))
    await control.serving()
    theirs.send(messages.encode(Failed(3, "too late")))
    await asyncio.sleep(0.01)


async def test_a_server_that_cannot_serve_says_why(ends):
    control, theirs, _ = ends
    control.start(listens=True)
    theirs.send(messages.encode(Failed(9, "it is taken", "PLG-SERVE")))
    with pytest.raises(FailedPrecondition, match="container 'c1': it is taken") as error:
        await control.serving()
    assert error.value.reason == "PLG-SERVE"


async def test_a_server_that_ends_or_is_silent_is_an_error(ends, monkeypatch):
    control, theirs, _ = ends
    control.start(listens=True)
    monkeypatch.setattr("pelagos_core.task.control._SERVE_SECONDS", 0.01)
    with pytest.raises(DeadlineExceeded, match=r"does not accept connections after 0\.01 s"):
        await control.serving()
    monkeypatch.setattr("pelagos_core.task.control._SERVE_SECONDS", 5)
    theirs.close()
    with pytest.raises(FailedPrecondition, match="has ended before it accepted connections"):
        await control.serving()
