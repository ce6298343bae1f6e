"""Profiles compiled by libseccomp: put on a process, they do what they say."""

import errno
import os
import signal
import socket

import pytest

from pelagos_core.errors import FailedPrecondition, InvalidArgument
from pelagos_core.isolation import libseccomp
from pelagos_core.linux import syscalls
from pelagos_core.oci.seccomp import Condition, Rule, Seccomp
from tests.support.child import outcome
from tests.support.steps import confine

_BEFORE_SECCOMP = 316 if os.uname().machine == "x86_64" else 276


def rule(name, action="ERRNO", number=errno.EDOM, *conditions):
    return Rule((name,), action, number, conditions)


def open_profile(*rules):
    """Everything is allowed, except by some rules."""
    return Seccomp("ALLOW", rules=rules)


def under(profile, call):
    """What a call comes to in a process with the profile."""
    program = libseccomp.compile_profile(profile)
    return outcome(lambda: confine(program), call)


def test_a_call_gets_the_error_of_its_rule_and_others_go_on():
    profile = open_profile(rule("getcwd"))
    assert under(profile, os.getcwd) == "EDOM"
    assert under(profile, lambda: os.stat("/")) == "done"


def test_a_profile_that_allows_denies_the_rest_with_its_own_error():
    calls = "read write close exit_group brk mmap munmap futex rt_sigprocmask newfstatat seccomp lseek getpid"
    profile = Seccomp("ERRNO", errno.EXDEV, rules=(Rule(tuple(calls.split()), "ALLOW", 0),))
    assert under(profile, os.getppid) == "done"  # it cannot fail, so there is no check
    assert under(profile, lambda: os.mkdir("/proc/none")) == "EXDEV"


@pytest.mark.parametrize("action", ["ERRNO", "ALLOW"])
def test_a_call_that_is_newer_than_the_profile_does_not_exist(action):
    calls = "read write close exit_group brk mmap munmap futex rt_sigprocmask newfstatat seccomp lseek getpid"
    profile = Seccomp(action, errno.EXDEV, rules=(Rule(tuple(calls.split()), "ALLOW", 0),))
    assert under(profile, lambda: syscalls._syscall(4000, "newer")) == "ENOSYS"
    known = under(profile, lambda: syscalls._syscall(_BEFORE_SECCOMP, "older", 0, 0, 0, 0))
    # Which error the call itself has depends on what is in its registers.
    assert (known == "EXDEV") if action == "ERRNO" else known not in ("EXDEV", "ENOSYS")


@pytest.mark.parametrize(
    ("condition", "family", "outcome"),
    [
        (Condition(0, socket.AF_INET, 0, "EQ"), socket.AF_INET, "EDOM"),
        (Condition(0, socket.AF_INET, 0, "EQ"), socket.AF_UNIX, "done"),
        (Condition(0, socket.AF_INET, 0, "NE"), socket.AF_UNIX, "EDOM"),
        (Condition(0, socket.AF_INET, 0, "LT"), socket.AF_UNIX, "EDOM"),
        (Condition(0, socket.AF_INET, 0, "GE"), socket.AF_UNIX, "done"),
        (Condition(0, 0b10, 0b10, "MASKED_EQ"), socket.AF_INET6, "EDOM"),
        (Condition(0, 0b10, 0b10, "MASKED_EQ"), socket.AF_UNIX, "done"),
    ],
)
def test_a_rule_with_a_condition_looks_at_the_argument(condition, family, outcome):
    profile = open_profile(rule("socket", "ERRNO", errno.EDOM, condition))
    assert under(profile, lambda: socket.socket(family).close()) == outcome


def test_two_conditions_on_one_argument_are_alternatives_and_on_two_hold_together():
    families = (Condition(0, socket.AF_INET, 0, "EQ"), Condition(0, socket.AF_INET6, 0, "EQ"))
    either = open_profile(rule("socket", "ERRNO", errno.EDOM, *families))
    for family in (socket.AF_INET, socket.AF_INET6):
        assert under(either, lambda family=family: socket.socket(family).close()) == "EDOM"
    both = open_profile(rule("socket", "ERRNO", errno.EDOM, families[0], Condition(2, 17, 0, "EQ")))
    assert under(both, lambda: socket.socket(socket.AF_INET).close()) == "done"


def test_a_call_that_kills_ends_the_process():
    program = libseccomp.compile_profile(open_profile(rule("getcwd", "KILL_PROCESS")))
    pid = os.fork()
    if pid == 0:
        confine(program)
        os.getcwd()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGSYS


def test_names_of_other_machines_and_rules_that_change_nothing_are_passed_over():
    plain = libseccomp.compile_profile(open_profile())
    assert libseccomp.compile_profile(open_profile(rule("no_such_call"), rule("read", "ALLOW"))) == plain


def test_an_architecture_that_is_not_there_is_refused():
    assert libseccomp.compile_profile(Seccomp("ALLOW", architectures=("x86_64", "x86", "x32")))
    with pytest.raises(InvalidArgument, match="architectures: 'pdp11' is unknown"):
        libseccomp.compile_profile(Seccomp("ALLOW", architectures=("pdp11",)))


def test_without_the_library_a_profile_is_refused(monkeypatch):
    monkeypatch.setattr(libseccomp, "_NAME", "libnone.so.2")
    libseccomp._library.cache_clear()
    try:
        with pytest.raises(FailedPrecondition, match=r"linux\.seccomp: libnone\.so\.2 is not installed"):
            libseccomp.version()
    finally:
        libseccomp._library.cache_clear()


def test_it_has_a_version():
    assert [part.isdigit() for part in libseccomp.version().split(".")] == [True] * 3
