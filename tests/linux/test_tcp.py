"""A process' sockets, seen from outside: by this process, of a child."""

import contextlib
import os
import signal
import socket
import time

import pytest

from pelagos_core.linux import child, syscalls, tcp

pytestmark = pytest.mark.root


@contextlib.contextmanager
def server():
    """A child with a listening socket that accepts nothing, its sockets, and the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    process = child.fork(signal.pause)
    listener.close()
    with contextlib.closing(process), sockets_of(process) as sockets:
        yield sockets, port


def sockets_of(process):
    return contextlib.closing(tcp.Sockets(process.pid, process.fileno()))


def test_the_queue_of_a_listening_socket_is_seen():
    with server() as (sockets, port):
        assert [tcp.queue(each) for each in sockets.listeners()] == [0]
        with socket.create_connection(("127.0.0.1", port)):
            assert [tcp.queue(each) for each in sockets.listeners()] == [1]
        assert list(sockets.connections()) == []


def test_new_connections_are_refused_and_old_ones_go_on():
    with server() as (sockets, port), socket.create_connection(("127.0.0.1", port)) as before:
        for listener in sockets.listeners():
            syscalls.refuse_connections(listener.fileno())
        with pytest.raises(TimeoutError):
            socket.create_connection(("127.0.0.1", port), timeout=0.3)
        before.sendall(b"x")
        assert [tcp.queue(each) for each in sockets.listeners()] == [1]


def test_the_last_byte_and_its_direction_are_reported():
    ours, theirs = _pair()
    process = child.fork(signal.pause)
    with contextlib.closing(process), sockets_of(process) as sockets, ours, theirs:
        mine = theirs.getsockname()

        def seen():
            found = [each for _, copy, each in sockets.connections() if copy.getsockname() == mine]
            return found[0]

        assert (seen().received, seen().sent, seen().pending) == (0, 0, 0)
        time.sleep(0.05)  # the kernel's clock has steps of some milliseconds
        ours.sendall(b"question")
        time.sleep(0.05)
        assert (seen().received, seen().pending) == (8, 8)
        assert seen().since_received < seen().since_sent
        assert theirs.recv(9) == b"question"
        theirs.sendall(b"answer")
        time.sleep(0.05)
        assert (seen().sent, seen().pending) == (6, 0)
        assert seen().since_sent < seen().since_received


def _pair():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        return ours, listener.accept()[0]


def test_a_process_that_has_ended_is_an_error():
    process = child.fork(signal.pause)
    with contextlib.closing(process), sockets_of(process) as sockets:
        process.end()
        with pytest.raises(OSError, match="No such file"):
            list(sockets.listeners())


def test_a_number_that_is_another_process_by_now_is_an_error():
    process = child.fork(lambda: 0)
    with contextlib.closing(process):
        pidfd = process.fileno()
        process.reap()
        before = set(os.listdir("/proc/self/fd"))
        with pytest.raises(ProcessLookupError):
            tcp.Sockets(os.getpid(), pidfd)
        assert set(os.listdir("/proc/self/fd")) == before


def test_no_copy_is_kept():
    with server() as (sockets, port), socket.create_connection(("127.0.0.1", port)):
        before = set(os.listdir("/proc/self/fd"))
        for _ in range(3):
            list(sockets.listeners())
            list(sockets.connections())
        assert set(os.listdir("/proc/self/fd")) == before
