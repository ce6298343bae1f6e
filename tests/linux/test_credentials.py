"""Becoming the container's user, where that is easy and where it is not."""

import os
import signal

import pytest

from pelagos_core.linux import capabilities, credentials, syscalls
from pelagos_core.oci import Capabilities, User
from tests.support.child import in_child

PR_GET_NO_NEW_PRIVS = 39
PR_GET_KEEPCAPS = 7


@pytest.mark.root
@pytest.mark.parametrize("user", [User(), User(1000, 2000, (3000,), 0o077), User(1000, 0, (), 0)])
def test_the_identity_is_changed_for_good(user):
    def run():
        credentials.become(user, Capabilities(), capabilities.permitted())
        groups = os.getgroups()
        try:
            os.setresuid(0 if user.uid else 1, 0, 0)
        except PermissionError:
            back = False
        else:
            back = True
        return os.getresuid(), os.getresgid(), groups, os.umask(0), back, syscalls.prctl(PR_GET_KEEPCAPS)

    umask = 0o022 if user.umask is None else user.umask
    ids = ((user.uid,) * 3, (user.gid,) * 3, list(user.additional_gids), umask, False, 0)
    assert in_child(run) == ids


@pytest.mark.root
def test_the_supplementary_groups_of_before_are_dropped():
    def run():
        os.setgroups([4, 24])
        credentials.become(User(1000, 1000), Capabilities(), capabilities.permitted())
        return os.getgroups()

    assert in_child(run) == []


@pytest.mark.root
@pytest.mark.parametrize("gids", [(), (5,)])
def test_where_setgroups_is_denied_only_a_user_without_groups_can_be(gids):
    def run():
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        for name, text in (("setgroups", "deny"), ("uid_map", "0 0 1"), ("gid_map", "0 0 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        credentials.become(User(additional_gids=gids), Capabilities(), capabilities.permitted())
        return os.getuid()

    if gids:
        with pytest.raises(PermissionError):
            in_child(run)
    else:
        assert in_child(run) == 0


def test_no_new_privileges_stays_set():
    def run():
        credentials.forbid_new_privileges()
        return syscalls.prctl(PR_GET_NO_NEW_PRIVS)

    assert syscalls.prctl(PR_GET_NO_NEW_PRIVS) == 0
    assert in_child(run) == 1


@pytest.mark.root
@pytest.mark.parametrize("user", [None, User(1000, 1000)])
def test_a_process_dies_with_its_parent_also_when_it_has_become_another_user(user):
    reader, writer = os.pipe()
    parent = os.fork()
    if parent == 0:
        if os.fork() == 0:
            credentials.die_with_parent(signal.SIGKILL)
            if user:
                credentials.become(user, Capabilities(), 0)
                credentials.die_with_parent(signal.SIGKILL)
            os.write(writer, b"x")
        signal.pause()
    os.close(writer)
    with os.fdopen(reader, "rb") as alive:
        assert alive.read(1) == b"x"
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        # The end of the pipe: the grandchild, its last writer, is gone too.
        assert alive.read() == b""
