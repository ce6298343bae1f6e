"""`pelagos kill`, `stop`, `wait` and `rm`."""

import os
import subprocess
import threading
import time

import pytest

from pelagos_core.daemon import runs
from tests.support.containerd import until
from tests.support.runs import PELAGOS, detached, native_words, pelagos

pytestmark = [pytest.mark.container, pytest.mark.guests]


def ended(name):
    return runs.find(os.geteuid(), name, ended=True).ended


def test_stop_waits_for_the_end_and_tells_it_once_more_without_an_error(guests):
    with detached("--name", "one", guests / "spin.wasm") as name:
        for _ in range(2):
            done = pelagos("stop", "one")
            assert (done.returncode, done.stdout, done.stderr) == (0, f"{name}\n", "")
        assert pelagos("wait", "one").stdout == "143\n"


def test_what_ignores_sigterm_is_killed_after_its_time(tmp_path):
    script = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
    with detached(*native_words(tmp_path), "/bin/sh", "-c", script) as name:
        until(lambda: pelagos("logs", name).stdout == "ready\n", 20)
        began = time.monotonic()
        assert pelagos("stop", "-t", "1", name).returncode == 0
        assert 1 <= time.monotonic() - began < 10
        assert pelagos("wait", name).stdout == "137\n"


def test_wait_prints_the_exit_code_when_it_comes(guests):
    with detached(guests / "spin.wasm") as name:
        timer = threading.Timer(0.5, lambda: pelagos("kill", "-s", "USR1", name))
        timer.start()
        assert pelagos("wait", name).stdout == "138\n"
        timer.join()


def test_what_runs_is_removed_by_force_only(guests):
    with detached(guests / "spin.wasm") as name:
        done = pelagos("rm", name)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"container '{name}' is running: `pelagos stop` it first, or use --force" in done.stderr
        assert pelagos("rm", "--force", name).stdout == f"{name}\n"
        assert "does not exist" in pelagos("rm", name).stderr


def test_an_error_of_one_does_not_keep_the_others_from_their_turn(guests):
    with detached(guests / "spin.wasm") as name:
        done = pelagos("stop", "none", name)
        assert (done.returncode, done.stdout) == (1, f"{name}\n")
        assert "container 'none'" in done.stderr


def test_a_signal_to_one_that_has_ended_says_so(guests):
    with detached(guests / "hello.wasm") as name:
        until(lambda: ended(name), 20)
        assert f"container '{name}' has ended" in pelagos("kill", name).stderr


def test_one_that_is_attached_can_be_stopped_too(guests):
    with subprocess.Popen([*PELAGOS, "run", "--name", "fg", str(guests / "spin.wasm")]) as process:
        until(lambda: any(run.pid == process.pid and run.backend for run in runs.listed(os.geteuid())), 30)
        assert pelagos("stop", "fg").returncode == 0
        assert process.wait(20) == 143
