"""What carries steps out: in order, up to the first that fails, whose words and reason the error has."""

import os

import pytest

from pelagos_core import reasons
from pelagos_core.errors import Internal, Unimplemented
from pelagos_core.isolation.filesystem import MakeWorkingDirectory, MountVolume
from pelagos_core.isolation.identity import SetUmask
from pelagos_core.isolation.operation import Close, Refuse, execute
from pelagos_core.isolation.state import State
from pelagos_core.oci import Mount
from pelagos_core.rootfs.root import Root
from tests.support.absent import ABSENT
from tests.support.child import in_child


def test_a_step_that_fails_is_the_last_and_is_named(tmp_path):
    def run():
        root = Root(str(tmp_path))
        root.process["root"] = os.open("/proc/self", os.O_PATH)  # nothing can be made in there
        try:
            execute([SetUmask(0o77), MakeWorkingDirectory("/work/in"), SetUmask(0)], State(root))
        finally:
            assert os.umask(0) == 0o77

    with pytest.raises(Exception, match="'/work/in' in the container") as error:
        in_child(run)
    assert error.value.reason == reasons.MOUNT


def test_an_error_of_the_kernel_is_reported_with_the_step():
    closed = os.open("/", os.O_PATH)
    os.close(closed)
    with pytest.raises(Internal, match="close the x: Bad file descriptor") as error:
        execute([Close("x")], State(Root(ABSENT), {"x": closed}))
    assert error.value.reason == reasons.ISOLATION


def test_what_cannot_be_done_is_refused_where_it_comes():
    with pytest.raises(Unimplemented, match="this one"):
        execute([Refuse("this one")], State(Root(ABSENT)))


def test_a_password_among_the_options_of_a_share_is_not_shown():
    share = MountVolume(Mount("/data", "cifs", "//host/data", ("ro", "password=secret")))
    local = MountVolume(Mount("/data", "tmpfs", "tmpfs", ("size=1m",)))
    assert (share.details(), local.details()) == ("ro, password", "size=1m")


def test_a_slot_is_closed_once():
    state = State(Root(ABSENT), {"x": os.open("/", os.O_PATH)})
    execute([Close("x")], state)
    assert "x" not in state.descriptors
    with pytest.raises(Internal, match="close the x: Bad file descriptor"):
        execute([Close("x")], state)
