"""The socket of a group: its path, and who makes it."""

import os
import socket
import stat
import tempfile
import threading

import pytest

from pelagos_core.errors import InvalidArgument
from pelagos_core.shim import address


@pytest.fixture
def path(monkeypatch):
    with tempfile.TemporaryDirectory(prefix="pelagos-") as directory:
        monkeypatch.setenv("PELAGOS_SOCKET_DIR", f"{directory}/s")
        yield address.socket_path("/c.sock", "ns", "pod")


def test_a_path_is_containerds_own_place_and_fits(monkeypatch):
    monkeypatch.delenv("PELAGOS_SOCKET_DIR", raising=False)
    path = address.socket_path("/run/containerd/containerd.sock", "n" * 76, "g" * 64)
    assert os.path.dirname(path) == "/run/containerd/s"
    assert len(path) <= 107


def test_each_group_has_a_path_and_always_the_same():
    paths = {
        address.socket_path(*key) for key in (("/c", "a", "b"), ("/c", "a", "c"), ("/c", "b", "b"), ("/d", "a", "b"))
    }
    assert len(paths) == 4
    assert address.socket_path("unix:///c", "a", "b") in paths


def test_a_directory_that_is_too_long_is_refused(monkeypatch):
    monkeypatch.setenv("PELAGOS_SOCKET_DIR", "/x" * 30)
    with pytest.raises(InvalidArgument, match="over 107 bytes"):
        address.socket_path("/c", "a", "b")


def test_a_socket_is_for_its_owner_alone_from_the_start(path):
    umask = os.umask(0)
    os.umask(umask)
    with address.Lock(path):
        listener = address.listen(path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
    assert os.umask(umask) == umask
    assert address.is_served(path)
    listener.close()
    assert not address.is_served(path)  # the file is there, and nobody behind it
    with address.Lock(path):
        listener = address.listen(path)
    assert address.is_served(path)
    listener.close()


def test_a_daemon_with_a_full_backlog_is_there(path, monkeypatch):
    monkeypatch.setattr(address, "BACKLOG", 0)
    with address.Lock(path):
        listener = address.listen(path)
    waiting = []
    for _ in range(4):
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        waiting.append(client)
        client.connect_ex(path)
    assert address.is_served(path)
    for client in waiting:
        client.close()
    listener.close()


def test_nothing_there_is_not_served(path):
    assert not address.is_served(path)


def test_racing_starts_take_turns(path):
    made = []

    def start():
        with address.Lock(path):
            if not address.is_served(path):
                made.append(address.listen(path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    made[0].close()
