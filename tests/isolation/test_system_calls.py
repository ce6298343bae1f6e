"""Which filters a container gets."""

import os

import pytest

from pelagos_core.isolation import engine_profile
from pelagos_core.isolation.operation import execute
from pelagos_core.isolation.seccomp import Filter, filter_of
from pelagos_core.isolation.state import State
from pelagos_core.isolation.system_calls import NO_FILTERS, Filters, FilterSystemCalls
from pelagos_core.linux import syscalls
from pelagos_core.oci.seccomp import Rule, Seccomp
from pelagos_core.rootfs.root import Root
from tests.support.child import in_child

SPEC = Seccomp("ALLOW", rules=(Rule(("getcwd",), "ERRNO", 33),))


def test_each_level_has_more_than_the_one_before():
    spec, embedded = filter_of(SPEC), filter_of(engine_profile.EMBEDDED)
    assert Filters.of(SPEC, "off") == NO_FILTERS
    assert Filters.of(SPEC, "spec") == Filters(spec)
    assert Filters.of(SPEC, "engine") == Filters(spec, embedded, filter_of(engine_profile.PROGRAM))
    assert Filters.of(None, "engine").spec is None


def test_a_filter_says_how_long_it_is():
    assert FilterSystemCalls("spec", Filter(b"\0" * 16)).describe() == "seccomp: the spec's profile, 2 instructions"


def test_a_filter_is_put_on_the_process():
    def run():
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
        execute([FilterSystemCalls("spec", filter_of(SPEC))], State(Root("/none")))
        with open("/proc/self/status") as file:
            status = dict(line.rstrip().split(":\t", 1) for line in file if line.startswith("Seccomp"))
        with pytest.raises(OSError, match="33"):
            os.getcwd()
        return status["Seccomp"]

    assert in_child(run) == "2"
