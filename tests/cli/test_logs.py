"""`pelagos logs`."""

import os
import subprocess

import pytest

from pelagos_core.daemon import runs
from tests.support.containerd import until
from tests.support.runs import PELAGOS, detached, native_words, pelagos

pytestmark = [pytest.mark.container, pytest.mark.guests]


def test_both_outputs_are_there_in_their_order_also_after_the_end(tmp_path):
    script = "echo one; echo two >&2; echo three"
    with detached(*native_words(tmp_path), "/bin/sh", "-c", script) as name:
        until(lambda: runs.find(os.geteuid(), name, ended=True).ended, 20)
        assert pelagos("logs", name).stdout == "one\ntwo\nthree\n"
        assert pelagos("logs", "-n", "2", name).stdout == "two\nthree\n"
        assert pelagos("logs", "-n", "0", name).stdout == ""
        assert pelagos("logs", "-f", "-n", "99", name).stdout == "one\ntwo\nthree\n"


def test_it_follows_until_the_end(tmp_path):
    script = "echo first; while [ ! -e /go ]; do sleep 0.05; done; echo last"
    with detached(*native_words(tmp_path), "/bin/sh", "-c", script) as name:
        process = subprocess.Popen([*PELAGOS, "logs", "-f", name], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "first\n"
        (tmp_path / "go").touch()
        output, _ = process.communicate(timeout=20)
        assert (output, process.returncode) == ("last\n", 0)


def test_the_backtrace_of_a_trap_is_in_it(guests):
    with detached(guests / "trap.wasm") as name:
        until(lambda: runs.find(os.geteuid(), name, ended=True).ended, 20)
        assert "unreachable" in pelagos("logs", name).stdout
        assert runs.find(os.geteuid(), name, ended=True).exit_code == 134


def test_of_one_that_is_not_detached_there_is_none(guests):
    with subprocess.Popen([*PELAGOS, "run", str(guests / "spin.wasm")]) as process:
        until(lambda: any(run.pid == process.pid and run.backend for run in runs.listed(os.geteuid())), 30)
        (name,) = [run.id for run in runs.listed(os.geteuid()) if run.pid == process.pid]
        assert "is not detached: its output is at its own terminal" in pelagos("logs", name).stderr
        process.terminate()
