"""A container that goes on without its command."""

import json
import os
import signal
import subprocess

import pytest

from pelagos_core.daemon import runs
from tests.support.containerd import until
from tests.support.runs import PELAGOS, detached, left_by_runs, pelagos, wait_until_nothing_is_left

pytestmark = [pytest.mark.container, pytest.mark.guests]


def listed(name, *flags):
    return next((row for row in json.loads(pelagos("ps", "--json", *flags).stdout) if row["id"] == name), None)


def test_it_runs_on_and_its_end_is_recorded(guests):
    with detached("--name", "clock", guests / "spin.wasm") as name:
        row = listed(name)
        assert (row["status"], row["name"], row["detached"]) == ("running", "clock", True)
        assert os.path.exists(f"/proc/{row['pid']}")
        pelagos("kill", "-s", "TERM", "clock")
        until(lambda: listed(name, "-a")["status"] == "exited 143", 20)
        assert listed(name) is None
        assert "clock" in pelagos("ps", "-a").stdout


def test_its_name_is_its_own(guests):
    with detached("--name", "mine", guests / "spin.wasm") as name:
        done = pelagos("run", "--name", "mine", guests / "hello.wasm")
        assert done.returncode == 125
        assert f"name 'mine' is in use by container '{name}'" in done.stderr


def test_with_rm_nothing_stays(guests):
    before = left_by_runs()
    assert pelagos("run", "-d", "--rm", guests / "hello.wasm").returncode == 0
    wait_until_nothing_is_left(before)


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["trap.wasm"], 0, ""),  # it has started
        (["none.wasm"], 127, "does not exist"),
        (["unknown_import.wasm"], 126, "unknown_import"),
        (["-i", "hello.wasm"], 125, "-d cannot be combined with -i or -t"),
    ],
)
def test_a_failed_start_is_reported_as_without_it_and_leaves_nothing(guests, words, code, text):
    before = left_by_runs()
    done = pelagos("run", "-d", "--rm", *words, cwd=guests)
    assert done.returncode == code
    assert text in done.stderr
    wait_until_nothing_is_left(before)


def test_a_daemon_that_is_killed_takes_it_along_and_the_next_run_removes_what_is_left(guests):
    before = left_by_runs()
    with detached(guests / "spin.wasm") as name:
        pid = listed(name)["pid"]
        daemon = int(subprocess.run(["ps", "-o", "ppid=", str(pid)], capture_output=True, text=True).stdout)
        os.kill(daemon, signal.SIGKILL)
        until(lambda: not os.path.exists(f"/proc/{pid}"), 20)
        assert listed(name, "-a") is None
        assert pelagos("run", guests / "hello.wasm").stdout == "hello\n"
    wait_until_nothing_is_left(before)


def test_the_command_may_be_killed_once_it_has_printed_the_id(guests):
    with subprocess.Popen([*PELAGOS, "run", "-d", str(guests / "spin.wasm")], stdout=subprocess.PIPE) as process:
        name = process.stdout.readline().decode().strip()
        process.kill()
    try:
        assert listed(name)["status"] == "running"
        assert runs.find(os.geteuid(), name).is_detached
    finally:
        assert pelagos("rm", "-f", name).returncode == 0
