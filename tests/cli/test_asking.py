"""Many daemons are asked at the same time; one that is gone, or says nothing, does not keep the others."""

import socket

import pytest

from pelagos_core.api import task_pb2 as api
from pelagos_core.cli import asking
from pelagos_core.cli.connection import TASK
from pelagos_core.errors import Unavailable


@pytest.fixture
def silent(tmp_path, monkeypatch):
    """The path of a socket whose owner answers nothing."""
    monkeypatch.setattr(asking, "_SECONDS", 0.2)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "silent"))
        listener.listen()
        yield str(tmp_path / "silent")


def test_an_ended_daemon_is_distinguished_from_a_silent_one(silent, tmp_path):
    request = api.StateRequest(id="x")
    gone, nothing = asking.ask(TASK, "State", [(str(tmp_path / "none"), request), (silent, request)])
    assert isinstance(gone, Unavailable)
    assert nothing is None


def test_nothing_is_asked_of_no_one():
    assert asking.ask(TASK, "State", []) == []
