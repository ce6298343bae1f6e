"""The path of a group's socket."""

import os

import pytest

from pelagos_core.errors import InvalidArgument
from pelagos_core.shim import address


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


def test_an_environment_may_be_that_of_another_process(monkeypatch):
    monkeypatch.setenv("PELAGOS_SOCKET_DIR", "/ours")
    assert os.path.dirname(address.socket_path("/c", "a", "b", {"PELAGOS_SOCKET_DIR": "/theirs"})) == "/theirs"
    assert os.path.dirname(address.socket_path("/c", "a", "b", {})) == "/run/containerd/s"
