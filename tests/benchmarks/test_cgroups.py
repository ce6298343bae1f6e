"""Groups of this machine, whichever version it has."""

import os
import subprocess
import sys
import time

import pytest

from benchmarks import cgroups

pytestmark = pytest.mark.root

_WORK = "import time\nwhile time.process_time() < {}: pass"


@pytest.fixture
def name():
    name = f"bench-groups-{os.getpid()}"
    yield name
    cgroups.remove(name)


def run_in(members, seconds):
    subprocess.run(
        [sys.executable, "-c", _WORK.format(seconds)], check=True, preexec_fn=lambda: members.write_text("0")
    )


def test_the_time_of_processes_that_have_ended_is_counted(name):
    used = cgroups.ProcessorTime(name)
    run_in(used.members, 0.05)
    once = used.seconds()
    run_in(used.members, 0.05)
    assert 0.05 <= once <= used.seconds() - 0.05


def test_the_time_of_others_is_not_counted(name):
    used = cgroups.ProcessorTime(name)
    before = time.process_time()
    while time.process_time() < before + 0.02:
        pass
    assert used.seconds() == 0.0


def test_a_process_is_charged_to_some_group():
    assert cgroups.charged_mib(os.getpid()) > 0


def test_groups_are_removed_with_all_below(name):
    cgroups.ProcessorTime(name).members.parent.joinpath("deeper").mkdir()
    cgroups.remove(name)
    assert not list(cgroups._ROOT.glob(f"*/{name}*"))
