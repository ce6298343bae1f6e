"""Becoming root in a user namespace, from an ordinary user."""

import os

import pytest

from pelagos_core.cli import rootless
from pelagos_core.errors import PermissionDenied
from pelagos_core.linux import syscalls
from tests.support.child import in_child

NOBODY = 65534


def test_root_stays_where_it_is():
    if os.geteuid() != 0:
        pytest.skip("needs root")
    before = os.readlink("/proc/self/ns/user")
    rootless.enter()
    assert os.readlink("/proc/self/ns/user") == before


@pytest.mark.root
def test_a_user_becomes_root_of_a_namespace_or_gets_the_reason():
    def enter():
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        # A change of user makes a process undumpable, and its files in /proc root's.
        syscalls.prctl(4, 1)  # PR_SET_DUMPABLE
        try:
            rootless.enter()
        except PermissionDenied as error:
            return str(error)
        with open("/proc/self/uid_map", "rb") as file:
            return os.geteuid(), os.getegid(), file.read().split(), os.environ["PELAGOS_ZYGOTE"]

    said = in_child(enter)
    assert said == (0, 0, [b"0", b"65534", b"1"], "off") or "lets no user make a user namespace" in said
