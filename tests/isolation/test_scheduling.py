"""What a process may use, set in a child."""

import os
import resource

import pytest

from pelagos_core.errors import PermissionDenied
from pelagos_core.isolation import scheduling
from pelagos_core.linux import syscalls
from pelagos_core.oci import IoPriority, Rlimit, Scheduler
from pelagos_core.oci.scheduling import RLIMITS
from tests.support.child import in_child


def test_the_names_are_those_of_this_kernel():
    for name in RLIMITS:
        assert getattr(resource, name, RLIMITS.index(name)) == RLIMITS.index(name)


def test_limits_are_set():
    def run():
        scheduling.limit([Rlimit("RLIMIT_NOFILE", 100, 200), Rlimit("RLIMIT_CORE", 0, 0)])
        return resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_CORE)

    assert in_child(run) == ((100, 200), (0, 0))


def test_no_limit_is_the_largest_number():
    def run():
        scheduling.limit([Rlimit("RLIMIT_CPU", 2**64 - 1, 2**64 - 1)])
        return resource.getrlimit(resource.RLIMIT_CPU)

    assert in_child(run) == (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def test_a_limit_that_may_not_be_raised_is_named():
    def run():
        if os.geteuid() == 0:
            os.setresuid(1000, 1000, 1000)
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
        scheduling.limit([Rlimit("RLIMIT_NOFILE", 100, 200)])

    with pytest.raises(PermissionDenied, match=r"process\.rlimits: RLIMIT_NOFILE 100:200: "):
        in_child(run)


def test_the_oom_score_is_set_and_a_refusal_is_a_warning(caplog):
    def run():
        before = _score()
        scheduling.set_oom_score(before + 1)
        raised = _score()
        if os.geteuid() == 0:
            os.setresuid(1000, 1000, 1000)
        scheduling.set_oom_score(before)  # which needs a capability
        return raised - before, [record.getMessage() for record in caplog.records]

    raised, said = in_child(run)
    assert raised == 1
    assert said in ([], [f"process.oomScoreAdj: {_score()}: this process may not lower it"])


def test_the_policy_is_set():
    def run():
        scheduling.schedule(Scheduler("SCHED_BATCH", nice=5, flags=("SCHED_FLAG_RESET_ON_FORK",)))
        return os.sched_getscheduler(0), os.nice(0)

    assert in_child(run) == (os.SCHED_BATCH | os.SCHED_RESET_ON_FORK, 5)


def test_a_policy_that_the_kernel_does_not_have_is_an_error():
    with pytest.raises(OSError, match="Invalid argument"):
        in_child(lambda: scheduling.schedule(Scheduler("SCHED_ISO")))


def test_the_io_priority_is_set():
    def run():
        scheduling.set_io_priority(IoPriority("IOPRIO_CLASS_BE", 6))
        return syscalls.libc.syscall(252 if os.uname().machine == "x86_64" else 31, 1, 0)

    assert in_child(run) == 2 << 13 | 6


def test_the_personality_is_set():
    def run():
        scheduling.set_personality("LINUX32")
        return os.uname().machine

    assert in_child(run) != "x86_64"
    assert in_child(lambda: scheduling.set_personality("LINUX") or os.uname().machine) == os.uname().machine


def _score():
    with open("/proc/self/oom_score_adj") as file:
        return int(file.read())
