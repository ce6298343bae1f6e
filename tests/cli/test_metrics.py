"""`pelagos metrics`: on stdout, as a textfile, on a socket, with real containers and daemons that are killed."""

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from pelagos_core.metrics import slots
from pelagos_core.shim import unix_socket
from tests.support.containerd import until

COMMAND = [sys.executable, "-m", "pelagos_core"]


@pytest.fixture(autouse=True)
def _metrics(tmp_path, monkeypatch):
    monkeypatch.setenv(slots.VARIABLE, str(tmp_path / "metrics"))


def pelagos(*words, **more):
    return subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, timeout=60, **more)


def values(text, name):
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for family in parse(text)
        for sample in family.samples
        if sample.name == name and sample.value
    }


def metrics(name):
    done = pelagos("metrics")
    assert (done.returncode, done.stderr) == (0, "")
    return values(done.stdout, name)


def test_a_node_that_has_done_nothing_says_so():
    assert metrics("pelagos_daemons_started_total") == {}
    assert list(metrics("pelagos_info").values()) == [1]


@pytest.mark.container
@pytest.mark.guests
def test_runs_are_counted_by_engine_and_end(guests, tmp_path):
    for module in ("hello", "hello", "exit7", "trap"):
        pelagos("run", guests / f"{module}.wasm")
    assert metrics("pelagos_daemons_started_total") == {(): 4}
    ends = {dict(labels)["cause"]: count for labels, count in metrics("pelagos_exits_total").items()}
    assert ends == {"success": 2, "error": 1, "trap": 1}
    assert metrics("pelagos_create_duration_seconds_count") == {(("engine", "wasmtime"),): 4}
    hits, misses = metrics("pelagos_cache_hits_total"), metrics("pelagos_cache_misses_total")
    assert sum(hits.values()) + sum(misses.values()) == 4
    assert metrics("pelagos_cache_entries")
    assert metrics("pelagos_containers") == metrics("pelagos_daemons") == {}


@pytest.mark.container
@pytest.mark.guests
def test_one_that_cannot_be_created_and_one_that_is_refused_memory(guests):
    pelagos("run", guests / "unknown_import.wasm")
    assert metrics("pelagos_create_failures_total") == {(("reason", "PLG-MODULE"),): 1} or metrics(
        "pelagos_create_failures_total"
    ) == {(("reason", "PLG-ENGINE-UNFIT"),): 1}
    pelagos("run", "--memory", "64m", guests / "memory.wasm", "take", "256")
    assert metrics("pelagos_memory_refusals_total") == {(("engine", "wasmtime"),): 1}


@pytest.mark.container
@pytest.mark.guests
def test_a_killed_daemon_takes_no_count_with_it_and_leaves_no_container(guests):
    words = [*COMMAND, "run", str(guests / "spin.wasm")]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
        until(lambda: metrics("pelagos_containers") == {(("engine", "wasmtime"), ("state", "running")): 1}, 30)
        before = metrics("pelagos_start_duration_seconds_sum")
        (daemon,) = _daemons()
        os.kill(daemon, signal.SIGKILL)
        until(lambda: metrics("pelagos_containers") == {}, 30)
        assert metrics("pelagos_start_duration_seconds_sum") == before
        process.wait(30)
    pelagos("run", guests / "hello.wasm")
    assert metrics("pelagos_start_duration_seconds_count") == {(("engine", "wasmtime"),): 2}
    assert os.stat(f"{os.environ[slots.VARIABLE]}").st_mode & 0o777 == 0o700


def _daemons():
    """The daemons that count in the file of this test."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            target = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
            if b"-id" in words and any(name.startswith(os.environ[slots.VARIABLE]) for name in target):
                found.append(int(pid))
    return found


def test_a_textfile_is_replaced_as_a_whole_and_can_be_read_by_others(tmp_path):
    done = pelagos("metrics", "--textfile", tmp_path, umask=0o077)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(os.listdir(tmp_path)) == ["pelagos.prom"]
    first = os.stat(tmp_path / "pelagos.prom")
    assert stat.S_IMODE(first.st_mode) == 0o644
    pelagos("metrics", "--textfile", tmp_path)
    assert os.stat(tmp_path / "pelagos.prom").st_ino != first.st_ino
    assert values((tmp_path / "pelagos.prom").read_text(), "pelagos_info")


def test_mistakes_are_reported(tmp_path):
    done = pelagos("metrics", "--textfile", tmp_path / "missing")
    assert (done.returncode, done.stderr) == (1, f"pelagos: metrics: directory '{tmp_path}/missing' does not exist\n")
    done = pelagos("metrics", "--textfile", tmp_path, "--listen", "/x")
    assert (done.returncode, "exclude each other" in done.stderr) == (2, True)
    (tmp_path / "file").write_text("")
    done = pelagos("metrics", "--listen", tmp_path / "file")
    assert (done.returncode, done.stderr) == (1, f"pelagos: metrics: file '{tmp_path}/file' is not a socket\n")
    os.mkdir(tmp_path / "metrics")
    os.chmod(tmp_path / "metrics", 0o777)
    done = pelagos("metrics")
    assert (done.returncode, "can be written by others" in done.stderr) == (1, True)


@contextlib.contextmanager
def listening(path):
    with subprocess.Popen([*COMMAND, "metrics", "--listen", path], stderr=subprocess.PIPE) as process:
        try:
            until(lambda: unix_socket.is_served(path), 20)
            yield process
        finally:
            process.terminate()
        assert process.wait(10) == 0
        assert process.stderr.read() == b""
    assert not os.path.exists(path)


def get(path, request=b"GET /metrics HTTP/1.0\r\n\r\n"):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(path)
        client.sendall(request)
        answer = b""
        while chunk := client.recv(1 << 16):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.decode(), body.decode()


@pytest.fixture
def path():
    """A path that is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="pelagos-") as directory:
        yield f"{directory}/metrics.sock"


def test_a_socket_of_roots_serves_it_to_many_at_a_time(path):
    with listening(path):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        silent = socket.socket(socket.AF_UNIX)
        silent.connect(path)
        head, body = get(path)
        silent.close()
        assert head.startswith("HTTP/1.0 200 OK")
        assert "text/plain" in head
        assert values(body, "pelagos_info")
        head, body = get(path, b"GET / HTTP/1.0\r\nAccept: application/openmetrics-text\r\n\r\n")
        assert "application/openmetrics-text" in head
        assert body.endswith("# EOF\n")
        assert get(path, b"POST / HTTP/1.0\r\n\r\n")[0].startswith("HTTP/1.0 405")
        answers = []
        askers = [threading.Thread(target=lambda: answers.append(get(path)[0])) for _ in range(8)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        assert [answer[:12] for answer in answers] == ["HTTP/1.0 200"] * 8
        done = pelagos("metrics", "--listen", path)
        assert (done.returncode, "another process listens" in done.stderr) == (1, True)


def test_the_socket_of_a_killed_one_is_replaced(path):
    with subprocess.Popen([*COMMAND, "metrics", "--listen", path]) as process:
        until(lambda: os.path.exists(path), 20)
        process.kill()
    with listening(path):
        until(lambda: values(get(path)[1], "pelagos_info"), 10)


@pytest.mark.root
def test_another_user_has_no_figures_of_the_node(tmp_path):
    env = {name: value for name, value in os.environ.items() if name != slots.VARIABLE}
    code = "import os, pelagos_core.cli.metrics; from pelagos_core.cli.main import main; os.setuid(65534); main()"
    done = subprocess.run([sys.executable, "-c", code, "metrics"], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        1,
        "pelagos: metrics: the figures of the node are root's: run it as root\n",
    )
