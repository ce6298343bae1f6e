"""Real cgroup v2, even if the host has v1: the tests of limits and of the life cycle, in another kernel."""

import os
import re
from pathlib import Path

import pytest

from tests.support import uml

pytestmark = [pytest.mark.uml, pytest.mark.guests, pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).parent.parent.parent
# What touches control groups. They are the same tests as those that run on the host.
TESTS = {
    "limits, pauses, counts and devices": (
        "tests/cgroups/test_group.py",
        "tests/cgroups/test_oom.py",
        "tests/cgroups/test_device_filter.py",
        "tests/task/test_oom.py",
        "tests/integration/test_resources.py",
        "tests/integration/test_live_control.py",
    ),
    "native programs, which see their groups, and system calls": (
        "tests/isolation/test_libseccomp.py",
        "tests/integration/test_native.py::test_what_programs_expect_of_the_kernel_is_there",
        "tests/integration/test_native.py::test_a_program_sees_its_own_control_groups",
        "tests/integration/test_native.py::test_a_pod_of_a_pause_container_and_a_guest_shares_its_namespaces",
        "tests/integration/test_seccomp.py::test_guests_of_every_kind_run_under_both",
        "tests/integration/test_seccomp.py::test_a_native_program_has_the_specs_profile_alone",
    ),
}


@pytest.mark.parametrize("what", TESTS)
def test_containers_on_cgroup_v2(tmp_path, what):
    code, output = uml.run_tests(TESTS[what], ROOT, tmp_path)
    assert code == 0, output
    assert int(re.findall(r"(\d+) passed", output)[-1]) > 20


def test_it_is_cgroup_v2_and_nothing_else(tmp_path):
    code, output = uml.run(["cat", "/proc/self/cgroup", "/sys/fs/cgroup/cgroup.controllers"], ROOT, tmp_path, {})
    assert code == 0
    assert output.splitlines()[-2:] == ["0::/", "cpu io memory pids"]


def test_an_exit_code_comes_back_and_no_file_of_this_machine_is_written(tmp_path):
    target = tmp_path / "written"
    code, output = uml.run(["sh", "-c", f"echo x > {target}; exit 7"], ROOT, tmp_path, {"PATH": os.environ["PATH"]})
    assert (code, target.exists()) == (7, False), output
    assert uml.run(["sh", "-c", f"echo x > {ROOT}/written"], ROOT, tmp_path, {})[0] != 0
