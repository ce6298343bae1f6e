"""A whole run, of the smallest size, and that it leaves nothing behind."""

import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import programs, sandbox
from benchmarks.report import Report
from benchmarks.stage import QUICK

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.containerd]

TINY = replace(QUICK, tasks=4, idle_containers=(1, 2), idle_pods=1, scale_pods=2, scale_containers=4)
TINY = replace(TINY, idle_seconds=0.1, settle_seconds=0.1)


# Forks of the process of all tests would take as long as that process is large.
MEASURE = """
import sys
from dataclasses import replace
from pathlib import Path
from benchmarks.run import Run
from tests.benchmarks.test_run import TINY

directory, saved, shim, *names = sys.argv[1:]
run = Run(Path(directory), TINY, print)
contenders = run.contenders([])
if shim:
    contenders = [replace(contenders[0], name="broken", shim=Path(shim))]
run.measure(names, contenders).save(Path(saved))
for failure in run.failures:
    print(failure, file=sys.stderr)
"""


@pytest.fixture
def measured(tmp_path):
    """Measures in a process of its own: scenarios -> the report and the failures."""
    programs.provide(["hello", "sleeper", "busybox"])
    directory = Path(tempfile.mkdtemp(prefix="bench-"))  # sockets need short paths

    def measure(*names, shim=""):
        words = [sys.executable, "-c", MEASURE, directory, tmp_path / "report", shim, *names]
        done = subprocess.run(words, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
        return Report.load(tmp_path / "report"), done.stderr.splitlines()

    yield measure
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()
    cgroups = Path("/sys/fs/cgroup")
    assert not [*cgroups.glob(f"{directory.name}*"), *cgroups.glob(f"*/{directory.name}*")]


def test_a_run_measures_both_sides_in_turns(measured):
    report, failures = measured("throughput", "reboot", "memory", "scale", "isolation")
    assert failures == []
    for contender in ("pelagos", "runc"):
        assert report.value("throughput", "1 at a time", contender, "CPU per task") > 0
        assert report.value("memory", "each container, of 2", contender, "charged to its own group") > 0
        assert report.value("throughput", "4 at a time", contender, "rate") > 0
        assert report.value("reboot", "1 pods at once", contender, "until all run") > 0
        assert report.value("memory", "each container, of 2", contender, "memory (PSS)") > 0
        assert report.value("scale", "at the last", contender, "create and start p50") > 0
    assert report.value("isolation", "all", "this machine", "processor time p50") > 0
    assert report.made["failures"] == []


def test_a_contender_that_fails_is_named_and_left_out(measured):
    report, failures = measured("throughput", shim="/bin/false")
    assert report.figures == []
    assert len(failures) == 1
    assert failures[0].startswith("throughput: broken: ")


def test_a_sandbox_hands_on_what_is_raised(tmp_path):
    def fail():
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        sandbox.inside(fail, tmp_path / "s", "pelagos-bench-test-none")
    assert not (tmp_path / "s").exists()


def test_in_a_sandbox_no_other_process_runs(tmp_path):
    alive = sandbox.inside(lambda: set(filter(str.isdigit, os.listdir("/proc"))), tmp_path / "s", "none-x")
    assert alive == {"1", "2"}
