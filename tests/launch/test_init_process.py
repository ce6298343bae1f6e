"""An init process as the daemon has it: whatever happens, it is reaped and no descriptor is left."""

import asyncio
import os
import signal
import socket

import pytest

from pelagos_core.errors import Internal
from pelagos_core.launch import messages
from pelagos_core.launch.init_process import InitProcess
from pelagos_core.launch.messages import Created, Terminal
from tests.support.sleeper import is_reaped, sleeper


@pytest.fixture
def run():
    """Runs a test's body with an init process and the other end of its socket, and abandons it."""

    def run(body, **options):
        async def running():
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.setblocking(False)
            process = InitProcess(sleeper(start_new_session=True), ours, **options)
            with theirs:
                await body(process, theirs)
                pid = process.pid
                await process.abandon()
            assert is_reaped(pid)
            assert process.pidfd == -1

        asyncio.run(running())

    return run


def test_messages_come_with_descriptors(run):
    async def body(process, theirs):
        socket.send_fds(theirs, [messages.encode(Terminal())], [0])
        theirs.send(messages.encode(Terminal()))
        message, file = await process.receive(None)
        assert message == Terminal()
        os.close(file)
        assert await process.receive(1) == (Terminal(), -1)

    run(body)


def test_what_is_no_message_leaves_no_descriptor(run):
    async def body(process, theirs):
        socket.send_fds(theirs, [b"odd"], [0])
        with pytest.raises(Internal, match="malformed"):
            await process.receive(None)

    run(body)


def test_silence_has_its_time(run):
    async def body(process, theirs):
        with pytest.raises(asyncio.TimeoutError):
            await process.receive(0.01)

    run(body)


def test_a_message_that_comes_while_nothing_receives_waits_and_keeps_nothing_busy(run):
    async def body(process, theirs):
        theirs.send(messages.encode(Terminal()))
        assert await process.receive(None) == (Terminal(), -1)
        theirs.send(messages.encode(Terminal()))
        calls = []
        process._read = lambda read=process._read: (calls.append(1), read())
        await asyncio.sleep(0.05)  # the reader that is left over from the first one finds no receiver, and goes
        assert len(calls) <= 1
        assert await process.receive(1) == (Terminal(), -1)

    run(body)


def test_a_message_in_the_moment_of_a_cancellation_leaves_no_descriptor(run):
    async def body(process, theirs):
        receiving = asyncio.ensure_future(process.receive(None))
        await asyncio.sleep(0)
        before = os.listdir("/proc/self/fd")
        socket.send_fds(theirs, [messages.encode(Terminal())], [0])
        process._read()
        receiving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receiving
        assert os.listdir("/proc/self/fd") == before

    run(body)


def test_after_the_last_message_of_a_launch_the_socket_is_anothers_to_read(run):
    async def body(process, theirs):
        theirs.send(messages.encode(Created("x", "best", False)))
        theirs.send(b"key")
        assert (await process.receive(None))[0] == Created("x", "best", False)
        await asyncio.sleep(0.01)
        assert process.control.recv(9) == b"key"

    run(body)


def test_the_end_is_reported_once_the_process_has_ended(run):
    async def body(process, theirs):
        theirs.close()
        receiving = asyncio.ensure_future(process.receive(None))
        await asyncio.sleep(0.01)
        assert not receiving.done()
        process.signal(signal.SIGTERM)
        assert await receiving == (None, -1)
        assert process.how_it_ended().si_status == signal.SIGTERM
        assert not is_reaped(process.pid)
        process.send_code(0)  # it is gone, and that is no error
        with pytest.raises(BrokenPipeError):
            process.send_go()

    run(body)


def test_a_second_stage_without_a_message_is_reaped_too():
    async def running():
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        first = sleeper(preexec_fn=os.setpgrp)
        process = InitProcess(first, ours, has_second_stage=True)
        second = sleeper(preexec_fn=lambda: os.setpgid(0, first))
        with theirs:
            await process.abandon()
        return second

    assert is_reaped(asyncio.run(running()))


def test_where_no_descriptor_is_left_no_process_is(monkeypatch):
    def none_left(pid):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", none_left)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = sleeper()
    with theirs, pytest.raises(OSError, match="Too many open files"):
        InitProcess(pid, ours)
    assert is_reaped(pid)
    assert ours.fileno() == -1
