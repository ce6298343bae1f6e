"""Sockets at a path: which process makes one, and whether a process listens."""

import os
import socket
import stat
import tempfile
import threading

import pytest

from pelagos_core.shim import unix_socket
from pelagos_core.shim.unix_socket import Lock, identity, is_served, listen


@pytest.fixture
def path():
    with tempfile.TemporaryDirectory(prefix="pelagos-") as directory:
        yield f"{directory}/s/socket"


def made(path, kind=socket.SOCK_STREAM):
    with Lock(path):
        return listen(path, kind)


def test_a_socket_is_for_its_owner_alone_from_the_start(path):
    path = f"{os.path.dirname(os.path.dirname(path))}/deep/s/socket"
    umask = os.umask(0)
    try:
        listener = made(path)
        assert os.umask(0) == 0
    finally:
        os.umask(umask)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    for directory in (os.path.dirname(path), os.path.dirname(os.path.dirname(path))):
        assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
    assert is_served(path)
    listener.close()
    assert not is_served(path)  # the file is there, and no process listens
    listener = made(path)
    assert is_served(path)
    listener.close()


def test_a_listener_of_datagrams_is_a_listener_too(path):
    listener = made(path, socket.SOCK_SEQPACKET)
    assert is_served(path)
    listener.close()
    assert not is_served(path)


def test_a_listener_with_a_full_backlog_is_there(path, monkeypatch):
    monkeypatch.setattr(unix_socket, "BACKLOG", 0)
    listener = made(path)
    waiting = []
    for _ in range(4):
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        waiting.append(client)
        client.connect_ex(path)
    assert is_served(path)
    for client in waiting:
        client.close()
    listener.close()


def test_nothing_there_is_not_served_and_is_no_socket(path):
    assert not is_served(path)
    assert identity(path) == (0, 0)


def test_a_new_socket_at_the_same_path_is_another_one(path):
    first = made(path)
    before = identity(path)
    second = made(path)
    assert identity(path) != before
    first.close()
    second.close()


def test_racing_starts_take_turns(path):
    listeners = []

    def start():
        with Lock(path):
            if not is_served(path):
                listeners.append(listen(path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(listeners) == 1
    listeners[0].close()


def test_a_name_is_of_one_length_whatever_the_key():
    names = {unix_socket.name_of(key) for key in ("", "a", "x" * 10_000, "\udcff")}
    assert {len(name) for name in names} == {64}
    assert len(names) == 4
