"""`pelagos ps` and `pelagos kill`: a session with containers of `pelagos run`."""

import contextlib
import json
import os
import signal
import subprocess
import sys

import pytest

from pelagos_core.daemon import runs
from tests.support.containerd import until
from tests.support.runs import detached, left_by_runs, wait_until_nothing_is_left

COMMAND = [sys.executable, "-m", "pelagos_core"]

pytestmark = [pytest.mark.container, pytest.mark.guests]


def pelagos(*words):
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=60)


@contextlib.contextmanager
def running(*words):
    before = left_by_runs()
    with subprocess.Popen([*COMMAND, "run", *map(str, words)], stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: (run := _record(process.pid)) and run.backend, 60)
            yield process, _record(process.pid).id
        finally:
            process.kill()
    wait_until_nothing_is_left(before)


def _record(pid):
    return next((run for run in runs.listed(os.geteuid()) if run.pid == pid), None)


def test_what_runs_is_listed_and_can_be_killed(guests):
    with running(guests / "spin.wasm", "a b") as (process, name):
        (row,) = [row for row in json.loads(pelagos("ps", "--json").stdout) if row["id"] == name]
        assert (row["backend"], row["status"]) == ("wasmtime", "running")
        assert row["command"] == [str(guests / "spin.wasm"), "a b"]
        assert os.path.exists(f"/proc/{row['pid']}")
        header, *lines = pelagos("ps").stdout.splitlines()
        assert header.split() == ["ID", "NAME", "PID", "BACKEND", "STATUS", "AGE", "COMMAND"]
        (line,) = [line for line in lines if line.startswith(name)]
        assert line.endswith("spin.wasm 'a b'")
        assert name in pelagos("ps", "-q").stdout.split()
        done = pelagos("kill", "-s", "TERM", name)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{name}\n", "")
        assert process.wait(20) == 128 + signal.SIGTERM


def test_kill_alone_is_sigkill_and_an_ids_beginning_is_enough(guests):
    with running(guests / "spin.wasm") as (process, name):
        done = pelagos("kill", name.removeprefix("run-"))
        assert (done.returncode, done.stdout) == (0, f"{name}\n")
        assert process.wait(20) == 137


def test_mistakes_are_reported():
    done = pelagos("kill", "none")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "pelagos: kill: container 'none' does not exist: `pelagos ps -a` lists yours\n"
    done = pelagos("kill", "-s", "FLY", "x")
    assert done.returncode == 2
    assert "'FLY' is not a signal such as TERM or 15" in done.stderr


def test_without_any_there_is_a_header_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "places", lambda uid: [str(tmp_path / "none")])
    assert runs.listed(os.geteuid()) == []


def test_a_container_can_be_inspected_while_it_runs_and_after_its_end(guests):
    with detached("--name", "looked-at", "-e", "A=1", guests / "spin.wasm") as name:
        found = json.loads(pelagos("inspect", "looked-at").stdout)
        assert (found["id"], found["status"], found["backend"]) == (name, "running", "wasmtime")
        assert found["config"]["process"]["env"] == ["A=1"]
        pelagos("stop", name)
        found = json.loads(pelagos("inspect", name).stdout)
        assert (found["status"], found["exit_code"]) == ("exited 143", 143)
        assert "config" not in found
