"""`pelagos zygote`, as a service manager runs it."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.containerd import until
from tests.support.traces import alive
from tests.support.zygote import end_zygotes, zygotes


def pelagos_zygote(directory):
    command = [sys.executable, "-I", "-m", "pelagos_core", "zygote"]
    env = {"PATH": os.environ["PATH"], "PELAGOS_ZYGOTE": directory}
    return subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)


@pytest.fixture
def directory():
    made = tempfile.mkdtemp(prefix="pelagos-")
    yield made
    end_zygotes(made)
    shutil.rmtree(made)


def test_it_takes_the_place_and_leaves_it_at_sigterm(directory):
    with pelagos_zygote(directory) as first:
        until(lambda: zygotes(directory), 20)
        (pid,) = zygotes(directory)
        assert Path(f"/proc/{pid}/comm").read_text() == "pelagos-zygote\n"
        with pelagos_zygote(directory) as second:
            until(lambda: zygotes(directory) not in ([], [pid]), 20)
            second.send_signal(signal.SIGTERM)
        until(lambda: zygotes(directory) == [], 20)
        first.send_signal(signal.SIGTERM)
    until(lambda: not alive(pid), 20)


@pytest.mark.parametrize(("place", "message"), [("off", "is `off`"), ("/dev/null/x", "Not a directory")])
def test_where_it_cannot_be_it_says_why(place, message):
    with pelagos_zygote(place) as process:
        assert message in process.stderr.read().decode()
    assert process.returncode == 1
