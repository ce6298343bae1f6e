"""What is answered in the zygote's loop, and what is left to the program."""

import json
import os
import socket
import tempfile

import pytest

from pelagos_core.api.task_pb2 import DeleteResponse
from pelagos_core.errors import InvalidArgument
from pelagos_core.shim import record
from pelagos_core.shim.address import socket_path
from pelagos_core.shim.unix_socket import Lock, listen
from pelagos_core.shim.zygote_request import Request
from pelagos_core.zygote import shim_command
from pelagos_core.zygote.shim_command import DeclinedError, MissingDaemon
from tests.support.absent import ABSENT

POD = {"annotations": {"io.kubernetes.cri.sandbox-id": "pod"}}


class Caller:
    """A process that asks, in a bundle of its own."""

    def __init__(self, directory, sockets):
        self.environment = {"PELAGOS_SOCKET_DIR": str(sockets)}
        self.bundle = directory
        self.fd = os.open(directory, os.O_PATH)

    def ask(self, *words):
        return shim_command.answer(
            Request(["-namespace", "n", "-id", "c1", "-address", "/c", *words], self.environment), self.fd
        )

    def socket(self, group):
        return socket_path("/c", "n", group, self.environment)


@pytest.fixture
def caller(tmp_path):
    # pytest's own directories are too long for a socket's path: this is their short name.
    short = f"{tempfile.gettempdir()}/short"
    (tmp_path / "bundle").mkdir()
    (tmp_path / "s").mkdir()
    os.symlink(tmp_path / "s", short)
    made = Caller(tmp_path / "bundle", short)
    yield made
    os.close(made.fd)
    os.unlink(short)


def bound(path):
    with Lock(path):
        return listen(path)


def test_a_group_without_a_daemon_gets_one(caller):
    missing = caller.ask("-debug", "start")
    assert isinstance(missing, MissingDaemon)
    assert missing.path == caller.socket("c1")
    assert missing.words[1:] == ["-namespace", "n", "-id", "c1", "-address", "/c", "-socket", missing.path, "-debug"]
    assert os.listdir(caller.bundle) == []


def test_a_pod_is_found_by_its_annotation_and_the_address_written(caller):
    (caller.bundle / "config.json").write_text(json.dumps(POD))
    assert caller.ask("start").path == caller.socket("pod")
    listener = bound(caller.socket("pod"))
    umask = os.umask(0o077)
    try:
        assert caller.ask("start") == f"unix://{caller.socket('pod')}".encode()
    finally:
        os.umask(umask)
        listener.close()
    assert (caller.bundle / "address").read_text() == f"unix://{caller.socket('pod')}"
    assert os.stat(caller.bundle / "address").st_mode & 0o777 == 0o644


@pytest.mark.parametrize("served", [True, False])
def test_a_delete_with_nothing_left_is_answered(caller, served):
    listener = bound(caller.socket("c1")) if served else socket.socket()
    for words in (["delete"], ["-bundle", str(caller.bundle), "delete"], ["-bundle", "/proc/none/such", "delete"]):
        answer = DeleteResponse.FromString(caller.ask(*words))
        assert (answer.pid, answer.exit_status) == (0, 137)
        assert answer.exited_at.seconds > 1_700_000_000
    listener.close()
    assert os.path.exists(caller.socket("c1")) == served


def test_a_dead_daemons_socket_is_left_to_the_program(caller):
    bound(caller.socket("c1")).close()
    with pytest.raises(DeclinedError):
        caller.ask("delete")


@pytest.mark.parametrize(
    "make", [os.mkdir, lambda path: os.symlink(ABSENT, path), lambda path: open(path, "w").close()]
)
def test_whatever_is_in_a_records_place_is_left_to_the_program(caller, make):
    make(caller.bundle / record.NAME)
    with pytest.raises(DeclinedError):
        caller.ask("delete")
    with pytest.raises(DeclinedError):
        caller.ask("-bundle", str(caller.bundle), "delete")


def test_a_large_config_is_left_to_the_program(caller):
    with open(caller.bundle / "config.json", "wb") as file:
        file.truncate(shim_command.MAX_CONFIG_BYTES + 1)
    for action in ("start", "delete"):
        with pytest.raises(DeclinedError):
            caller.ask(action)


def test_a_config_that_is_a_fifo_is_not_waited_for(caller):
    os.mkfifo(caller.bundle / "config.json")
    assert caller.ask("start").path == caller.socket("c1")


def test_a_working_directory_that_is_gone_is_left_to_the_program(caller):
    os.rmdir(caller.bundle)
    for action in ("start", "delete"):
        with pytest.raises(DeclinedError):
            caller.ask(action)


@pytest.mark.parametrize("words", [["-v"], ["-info"], ["-h"], ["fly"], []])
def test_every_other_command_line_is_left_to_the_program(caller, words):
    with pytest.raises(DeclinedError):
        caller.ask(*words)


def test_sockets_in_a_relative_directory_are_left_to_the_program(caller):
    caller.environment["PELAGOS_SOCKET_DIR"] = "s"
    for action in ("start", "delete"):
        with pytest.raises(InvalidArgument):
            caller.ask(action)
