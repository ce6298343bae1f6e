"""The numbers that a spec's names stand for."""

import resource

import pytest

from pelagos_core.isolation import scheduling
from pelagos_core.oci import IoPriority, Rlimit, Scheduler
from pelagos_core.oci.scheduling import RLIMITS


def test_the_names_are_those_of_this_kernel():
    for name in RLIMITS:
        assert getattr(resource, name, RLIMITS.index(name)) == RLIMITS.index(name)


@pytest.mark.parametrize(("limit", "number"), [(0, 0), (2**63 - 1, 2**63 - 1), (2**63, -1), (2**64 - 1, -1)])
def test_a_limit_beyond_the_largest_number_is_none(limit, number):
    assert scheduling.limiting(Rlimit("RLIMIT_CPU", limit, limit)).arguments == (0, number, number)
    assert scheduling.allowing(Rlimit("RLIMIT_CPU", 0, limit)).arguments == (0, number)


def test_a_policy_is_reported_with_its_numbers():
    scheduler = Scheduler("SCHED_DEADLINE", 5, 7, ("SCHED_FLAG_RECLAIM",), 1, 2**64 - 1, 3)
    assert scheduling.scheduling(scheduler).arguments == (6, 2, 5, 7, 1, -1, 3)


def test_a_class_and_a_domain_have_their_numbers():
    assert scheduling.io_priority(IoPriority("IOPRIO_CLASS_IDLE", 7)) == 3 << 13 | 7
    assert scheduling.personality("LINUX32") == 8
