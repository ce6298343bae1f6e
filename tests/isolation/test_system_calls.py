"""Which filters a container gets."""

import os

import pytest

from pelagos_core.isolation import engine_profile
from pelagos_core.isolation.seccomp import Filter, filter_of
from pelagos_core.isolation.system_calls import NO_FILTERS, ConfineEngine, Filters, FilterSystemCalls
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
    assert FilterSystemCalls(Filter(b"\0" * 16)).describe() == "seccomp: the spec's profile, 2 instructions"


@pytest.mark.parametrize(("has_program", "installed"), [(False, "embedded"), (True, "program")])
def test_the_engine_that_was_chosen_decides(has_program, installed):
    other = filter_of(Seccomp("ALLOW", rules=(Rule(("getppid",), "ERRNO", 33),)))

    def run():
        root = Root("/none")
        root.surroundings = 3 if has_program else -1
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
        ConfineEngine(embedded=other, program=filter_of(SPEC)).execute(root)
        with open("/proc/self/status") as file:
            status = dict(line.rstrip().split(":\t", 1) for line in file if line.startswith("Seccomp"))
        try:
            os.getcwd()
        except OSError:
            return status["Seccomp"], "program"
        return status["Seccomp"], "embedded"

    assert in_child(run) == ("2", installed)
