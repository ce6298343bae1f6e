"""A whole run, of the smallest size, and that it leaves nothing behind."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import programs, sandbox
from benchmarks.run import Run
from benchmarks.stage import QUICK

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.containerd]

TINY = replace(QUICK, tasks=4, idle_containers=(1, 2), idle_pods=1, scale_pods=2, scale_containers=4)
TINY = replace(TINY, idle_seconds=0.1, settle_seconds=0.1)


@pytest.fixture
def run(tmp_path_factory):
    programs.provide(["hello", "sleeper", "busybox"])
    directory = Path("/tmp") / f"bench-test-{os.getpid()}"  # sockets need short paths
    directory.mkdir()
    yield Run(directory, TINY, print)
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()
    cgroups = Path("/sys/fs/cgroup")
    assert not [*cgroups.glob(f"{directory.name}*"), *cgroups.glob(f"*/{directory.name}*")]


@pytest.mark.timeout(400)  # forks of a process as large as that of all tests are slow
def test_a_run_measures_both_sides_in_turns(run):
    report = run.measure(["throughput", "reboot", "memory", "scale", "isolation"], run.contenders([]))
    assert run.failures == []
    for contender in ("pelagos", "runc"):
        assert report.value("throughput", "1 at a time", contender, "CPU per task") > 0
        assert report.value("memory", "each container, of 2", contender, "charged to its own group") > 0
        assert report.value("throughput", "4 at a time", contender, "rate") > 0
        assert report.value("reboot", "1 pods at once", contender, "until all run") > 0
        assert report.value("memory", "each container, of 2", contender, "memory (PSS)") > 0
        assert report.value("scale", "at the last", contender, "create and start p50") > 0
    assert report.value("isolation", "all", "this machine", "processor time p50") > 0
    assert report.made["failures"] == []


def test_a_contender_that_fails_is_named_and_left_out(run):
    broken = run.contenders([])[0]
    broken = replace(broken, name="broken", shim=Path("/bin/false"))
    report = run.measure(["throughput"], [broken])
    assert report.figures == []
    assert len(run.failures) == 1
    assert run.failures[0].startswith("throughput: broken: ")


def test_a_sandbox_hands_on_what_is_raised(tmp_path):
    def fail():
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        sandbox.inside(fail, tmp_path / "s", "pelagos-bench-test-none")
    assert not (tmp_path / "s").exists()


def test_in_a_sandbox_nobody_else_is_alive(tmp_path):
    alive = sandbox.inside(lambda: set(filter(str.isdigit, os.listdir("/proc"))), tmp_path / "s", "none-x")
    assert alive == {"1", "2"}
