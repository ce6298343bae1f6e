"""Cleaning up by a bundle's record, and touching no stranger."""

import os
import signal
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from pelagos_core.api.task_pb2 import DeleteResponse
from pelagos_core.errors import InvalidArgument
from pelagos_core.shim import address, record, unix_socket
from pelagos_core.shim.delete import delete, encode_response
from pelagos_core.shim.flags import parse
from tests.support.containerd import until


def run(bundle, container="c1"):
    return DeleteResponse.FromString(delete(parse(["-id", container, "-bundle", str(bundle), "delete"])))


@pytest.fixture
def sleeper():
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def test_the_recorded_process_is_killed(tmp_path, sleeper):
    record.add_process(str(tmp_path), sleeper.pid)
    answer = run(tmp_path)
    assert (answer.pid, answer.exit_status) == (sleeper.pid, 137)
    assert answer.exited_at.seconds > 1_700_000_000
    assert sleeper.wait(5) == -signal.SIGKILL
    assert not (tmp_path / record.NAME).exists()
    assert run(tmp_path).pid == 0  # a second time


@pytest.mark.parametrize("start_time", [0, 12345])
def test_a_stranger_with_the_same_pid_is_let_live(tmp_path, sleeper, start_time):
    (tmp_path / record.NAME).write_text(f"process {sleeper.pid} {start_time}\n")
    run(tmp_path)
    assert sleeper.poll() is None


def test_of_a_group_only_its_members_are_killed(tmp_path, sleeper, monkeypatch):
    """A process of another pid namespace is listed as 0, which kill(2) takes for the caller's own group."""
    monkeypatch.setattr("pelagos_core.shim.delete._SECONDS", 0.02)
    (tmp_path / "group").mkdir()
    (tmp_path / "group/cgroup.procs").write_text(f"0\n{2**22 + 1}\n{sleeper.pid}\n")
    record.write_cgroups(str(tmp_path), (str(tmp_path / "group"),))
    run(tmp_path)
    assert sleeper.wait(5) == -signal.SIGKILL


def test_a_process_that_is_gone_is_no_error(tmp_path, sleeper):
    record.add_process(str(tmp_path), sleeper.pid)
    sleeper.kill()
    sleeper.wait()
    assert run(tmp_path).exit_status == 137


@pytest.mark.parametrize("bundle", ["", "/proc/none/such"])
def test_a_missing_bundle_is_no_error(tmp_path, monkeypatch, bundle):
    monkeypatch.chdir(tmp_path)
    assert run(bundle).exit_status == 137


def test_a_cgroup_that_cannot_be_removed_keeps_its_record(tmp_path, monkeypatch):
    monkeypatch.setattr("pelagos_core.shim.delete._SECONDS", 0.02)
    (tmp_path / "group").mkdir()
    (tmp_path / "group/busy").touch()
    record.write_cgroups(str(tmp_path), (str(tmp_path / "group"), str(tmp_path / "gone")))
    run(tmp_path)
    assert (tmp_path / record.NAME).exists()
    (tmp_path / "group/busy").unlink()
    run(tmp_path)
    assert not (tmp_path / "group").exists()
    assert not (tmp_path / record.NAME).exists()


def test_a_bad_id_is_refused(tmp_path):
    with pytest.raises(InvalidArgument, match="container id"):
        run(tmp_path, "../x")


@pytest.mark.parametrize(
    ("pid", "status", "at"), [(0, 0, 0), (1, 137, 1), (2**22, 255, 1_700_000_000_999_999_999), (127, 128, 10**18)]
)
def test_the_answer_is_what_protobuf_would_write(pid, status, at):
    answer = DeleteResponse.FromString(encode_response(pid, status, at))
    assert (answer.pid, answer.exit_status, answer.exited_at.ToNanoseconds()) == (pid, status, at)


def test_where_it_is_run_is_the_bundle(tmp_path, monkeypatch, sleeper):
    record.add_process(str(tmp_path), sleeper.pid)
    monkeypatch.chdir(tmp_path)
    delete(parse(["-id", "c1", "delete"]))
    assert sleeper.wait(5) == -signal.SIGKILL
    assert os.listdir(tmp_path) == []


@pytest.fixture
def sockets(monkeypatch):
    """A directory for sockets, with a path that is short enough for them."""
    with tempfile.TemporaryDirectory(prefix="pelagos-") as directory:
        monkeypatch.setenv("PELAGOS_SOCKET_DIR", directory)
        yield directory


def test_the_socket_of_a_dead_daemon_is_removed_and_a_living_ones_is_not(tmp_path, sockets):
    words = ["-namespace", "ns", "-address", "/c.sock", "-id", "c1", "-bundle", str(tmp_path), "delete"]
    path = address.socket_path("/c.sock", "ns", "c1")
    with unix_socket.Lock(path):
        listener = unix_socket.listen(path)
    delete(parse(words))
    assert unix_socket.is_served(path)
    listener.close()
    delete(parse(words))
    assert os.listdir(sockets) == []


def test_two_containers_of_a_dead_daemon_find_its_socket_at_once(tmp_path, sockets):
    """containerd runs a `delete` for each container of the pod at the same time."""
    (tmp_path / "config.json").write_text('{"annotations": {"io.kubernetes.cri.sandbox-id": "pod"}}')
    path = address.socket_path("/c.sock", "ns", "pod")
    words = ["-namespace", "ns", "-address", "/c.sock", "-bundle", str(tmp_path)]
    with ThreadPoolExecutor() as pool:
        with unix_socket.Lock(path):
            unix_socket.listen(path).close()
            both = [pool.submit(delete, parse([*words, "-id", name, "delete"])) for name in ("c1", "c2")]
            until(lambda: _waiting_for_lock(sockets) == 2)
        assert [DeleteResponse.FromString(done.result()).exit_status for done in both] == [137, 137]
    assert os.listdir(sockets) == []


def _waiting_for_lock(directory):
    """How many wait for the lock on a directory: proc(5), /proc/locks."""
    inode = os.stat(directory).st_ino
    with open("/proc/locks") as file:
        return len([line for line in file if "->" in line and f":{inode} " in line])
