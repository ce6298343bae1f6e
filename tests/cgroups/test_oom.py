"""The kernel's word that a group has run out of memory."""

import os
import secrets
import signal

import pytest

from pelagos_core.cgroups import joining
from pelagos_core.cgroups.group import Cgroup
from pelagos_core.cgroups.oom import OomNotice
from pelagos_core.oci.resources import Memory, Resources

pytestmark = pytest.mark.root

MIB = 1 << 20


@pytest.fixture
def cgroup():
    made = Cgroup.of(f"/pelagos-test-{secrets.token_hex(4)}", "c1")
    made.create(Resources(memory=Memory(limit=64 * MIB)))  # the child of a process with all tests changes many pages
    yield made
    while not made.try_remove():
        pass


def run(cgroup, mebibytes):
    """Touch so much memory in the group; the signal that has ended it."""
    pid = os.fork()
    if pid == 0:
        try:
            joining.join(cgroup)
            bytearray(mebibytes * MIB)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_it_is_reported_once_for_each_time(cgroup):
    notice = OomNotice(cgroup)
    try:
        assert run(cgroup, 1) == 0
        assert not notice.happened()
        for _ in range(2):
            assert run(cgroup, 256) == -signal.SIGKILL
            assert notice.happened()
            assert not notice.happened()
    finally:
        notice.close()


def test_a_group_that_is_not_there_cannot_be_watched():
    with pytest.raises(OSError, match="memory"):
        OomNotice(Cgroup.of(f"/pelagos-test-{secrets.token_hex(4)}", "c1"))
    with pytest.raises(OSError, match="memory"):
        OomNotice(Cgroup(()))
