"""Real cgroup v2, also where the host has v1: the tests of limits and life, in a kernel of their own."""

import os
import re
import sys
from pathlib import Path

import pytest

from tests.support import provision, uml

pytestmark = [pytest.mark.uml, pytest.mark.guests, pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).parent.parent.parent
# What touches control groups. They are the same tests as those that run on the host.
TESTS = (
    "tests/linux/test_cgroups.py",
    "tests/linux/test_oom.py",
    "tests/linux/test_device_filter.py",
    "tests/task/test_oom.py",
    "tests/shim/test_delete.py",
    "tests/integration/test_resources.py",
    "tests/integration/test_live_control.py",
)


def test_limits_pauses_counts_and_devices_on_cgroup_v2(tmp_path):
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(Path.home()),
        "PELAGOS_CACHE": str(provision.CACHE),
        "PYTHONDONTWRITEBYTECODE": "1",  # the files are this machine's, and read-only there
        "CI": "true",  # nothing is left out
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
    code, output = uml.run(command, ROOT, tmp_path, environment)
    assert code == 0, output
    assert int(re.findall(r"(\d+) passed", output)[-1]) > 50


def test_it_is_cgroup_v2_and_nothing_else(tmp_path):
    code, output = uml.run(["cat", "/proc/self/cgroup", "/sys/fs/cgroup/cgroup.controllers"], ROOT, tmp_path, {})
    assert code == 0
    assert output.splitlines()[-2:] == ["0::/", "cpu io memory pids"]


def test_an_exit_code_comes_back_and_no_file_of_this_machine_is_written(tmp_path):
    target = tmp_path / "written"
    code, output = uml.run(["sh", "-c", f"echo x > {target}; exit 7"], ROOT, tmp_path, {"PATH": os.environ["PATH"]})
    assert (code, target.exists()) == (7, False), output
    assert uml.run(["sh", "-c", f"echo x > {ROOT}/written"], ROOT, tmp_path, {})[0] != 0
