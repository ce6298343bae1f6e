"""Which filters a container gets."""

import errno
import os
import socket

import pytest

from pelagos_core.config.policy import Policy
from pelagos_core.errors import Internal
from pelagos_core.isolation import engine_profile
from pelagos_core.isolation.identity import ForbidNewPrivileges
from pelagos_core.isolation.seccomp import Filter, filter_of
from pelagos_core.isolation.system_calls import NO_FILTERS, Filters, FilterSystemCalls
from pelagos_core.oci.seccomp import Rule, Seccomp
from tests.support.child import in_child
from tests.support.steps import keep_capabilities, take

SPEC = Seccomp("ALLOW", rules=(Rule(("getcwd",), "ERRNO", 33),))


def test_each_level_has_more_than_the_one_before():
    spec, embedded = filter_of(SPEC), filter_of(engine_profile.EMBEDDED)
    assert Filters.of(SPEC, Policy(seccomp="off")) == NO_FILTERS
    assert Filters.of(SPEC, Policy(seccomp="spec")) == Filters(spec)
    assert Filters.of(SPEC, Policy()) == Filters(spec, embedded, filter_of(engine_profile.PROGRAM))
    assert Filters.of(None, Policy()).spec is None


@pytest.mark.parametrize("level", ["off", "spec", "engine"])
def test_a_guest_that_may_not_listen_has_a_filter_at_each_level(level):
    made = Filters.of(None, Policy(listens=False, seccomp=level))
    assert made.outbound == filter_of(engine_profile.OUTBOUND)


@pytest.mark.root
def test_what_may_not_listen_connects_and_neither_binds_nor_listens():
    def attempts():
        take(ForbidNewPrivileges())
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client, socket.socket() as other:
            take(FilterSystemCalls("policy", filter_of(engine_profile.OUTBOUND)))
            client.connect(server.getsockname())
            return [_error(call) for call in (lambda: other.bind(("127.0.0.1", 0)), other.listen, server.accept)]

    assert in_child(attempts) == 3 * ["EACCES"]


@pytest.mark.root
@pytest.mark.parametrize("profile", [engine_profile.EMBEDDED, engine_profile.PROGRAM], ids=["embedded", "program"])
def test_an_engine_has_no_unix_socket(profile):
    """Neither one of a path that is mounted nor an abstract one of its network namespace."""

    def attempts():
        take(ForbidNewPrivileges())
        take(FilterSystemCalls("engine", filter_of(profile)))
        families = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
        return [_error(lambda family=family: socket.socket(family).close()) for family in families]

    assert in_child(attempts) == ["done", "done", "ENOSYS"]


def _error(call):
    try:
        call()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"


def test_a_filter_says_how_long_it_is():
    assert FilterSystemCalls("spec", Filter(b"\0" * 16)).describe() == "seccomp: the spec's profile, 2 instructions"


def test_a_filter_is_put_on_the_process():
    def run():
        take(ForbidNewPrivileges(), FilterSystemCalls("spec", filter_of(SPEC)))
        with open("/proc/self/status") as file:
            status = dict(line.rstrip().split(":\t", 1) for line in file if line.startswith("Seccomp"))
        with pytest.raises(OSError, match="33"):
            os.getcwd()
        return status["Seccomp"]

    assert in_child(run) == "2"


@pytest.mark.parametrize("program", [b"\0" * 7, b"\0" * 8 * 4097])
def test_what_is_no_filter_is_refused(program):
    with pytest.raises(Internal, match=r"seccomp: the spec's profile, .*: Invalid argument"):
        in_child(lambda: take(ForbidNewPrivileges(), FilterSystemCalls("spec", Filter(program))))


def test_a_filter_needs_no_new_privs_or_a_capability():
    def run():
        keep_capabilities(0)
        take(FilterSystemCalls("spec", filter_of(SPEC)))

    with pytest.raises(Internal, match=r"seccomp: the spec's profile, .*: Permission denied"):
        in_child(run)
