"""The compiler's prison, as steps: nothing is touched. What it comes to is in tests/cache/test_compiler.py."""

import pytest

from pelagos_core.isolation.compiler_plan import COMPILED, MODULE, REPORT, compiler_plan
from pelagos_core.isolation.identity import BecomeUser, ForbidNewPrivileges, SetUmask
from pelagos_core.oci import Capabilities, User
from pelagos_core.plugin.program import HostFile, Program

NOBODY = User(65534, 65534)
PROGRAM = Program("/bin/engine", "/usr/bin/engine", (HostFile("/bin/engine", "/usr/bin/engine"),), ("/bin/engine",))


def test_an_engine_that_is_a_library_has_an_empty_root():
    assert [step.line() for step in compiler_plan(NOBODY, 1 << 20, None)] == [
        "no standard streams",
        "close all other descriptors [from module, output, report]",
        "end with the parent [from report]",
        "OOM score adjustment 1000",
        "umask 000",
        "namespaces: new mount, network, ipc, uts; joined none (propagation 0x40000)",
        "root file system of 0 mounts [to root]",
        "read-only root [from root]",
        "change the root [from root]",
        "limits RLIMIT_CORE 0:0, RLIMIT_NOFILE 64:64, RLIMIT_DATA 1048576:1048576",
        "become user 65534:65534 (no capabilities)",
        "no new privileges",
        "end with the parent [from report]",
    ]


def test_a_programs_files_and_its_module_are_there_before_the_root_is_read_only():
    lines = [step.line() for step in compiler_plan(NOBODY, 1 << 20, PROGRAM)]
    first = lines.index("mount /bin/engine on /usr/bin/engine (ro, nosuid, nodev) [from root; to device mounts]")
    assert lines[first + 1 : first + 4] == [
        "mount scratch on /tmp (nosuid, nodev, noexec, mode=1777, size=1048576) [from root]",
        "copy the module to /module.wasm [from root, module]",
        "read-only root [from root]",
    ]


@pytest.mark.parametrize("program", [None, PROGRAM])
def test_nothing_is_left_to_it_and_each_slot_is_filled(program):
    steps = compiler_plan(NOBODY, 1 << 20, program)
    assert BecomeUser(NOBODY, Capabilities()) in steps
    assert steps.index(ForbidNewPrivileges()) > steps.index(BecomeUser(NOBODY, Capabilities()))
    assert SetUmask(0) in steps
    filled = {MODULE, COMPILED, REPORT}
    for step in steps:
        assert set(step.reads()) <= filled, step
        filled |= set(step.writes())
