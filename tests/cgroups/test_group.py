"""Control groups: a real one, on the hierarchies that this machine has."""

import os
import secrets
import signal
import time

import pytest

from pelagos_core.cgroups import joining
from pelagos_core.cgroups.group import Cgroup
from pelagos_core.errors import FailedPrecondition, InvalidArgument, PelagosError
from pelagos_core.oci.resources import Cpu, DeviceRule, Memory, Resources
from tests.support.child import in_child

pytestmark = pytest.mark.root

MIB = 1 << 20


@pytest.fixture
def cgroup():
    made = Cgroup.of(f"/pelagos-test-{secrets.token_hex(4)}/inner", "c1")
    yield made
    _until(made.try_remove)
    for path in made.paths:
        if os.path.isdir(os.path.dirname(path)):
            os.rmdir(os.path.dirname(path))


def test_a_group_is_made_joined_emptied_and_removed(cgroup):
    cgroup.check_unused()
    cgroup.create(Resources())
    cgroup.create(Resources())  # again: it is there
    assert cgroup.processes() == []
    pid = os.fork()
    if pid == 0:
        try:
            joining.join(cgroup)
            signal.pause()
        finally:
            os._exit(1)
    _until(lambda: cgroup.processes() == [pid])
    _until(lambda: all(_holds(path, pid) for path in cgroup.paths))
    with pytest.raises(FailedPrecondition, match="in use by other processes"):
        cgroup.check_unused()
    cgroup.try_remove()  # kills; the group may stay busy until its last process is reaped
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    _until(cgroup.try_remove)
    assert not any(os.path.exists(path) for path in cgroup.paths)
    assert cgroup.try_remove()  # again: nothing is no error


def _limits(cgroup):
    """(memory limit in MiB, processes), whichever version of control groups there is."""
    memory = cgroup.read("memory.max") if cgroup.unified else cgroup.read("memory.limit_in_bytes")
    return int(memory) // MIB, cgroup.read("pids.max")


def test_a_limit_of_memory_is_the_same_in_whole_pages(cgroup):
    cgroup.create(Resources(memory=Memory(limit=64 * MIB)))
    asked = {64 * MIB: False, 64 * MIB + 1: False, 65 * MIB: True, -1: True, 0: False}
    assert {limit: cgroup.changes_memory(Resources(memory=Memory(limit=limit))) for limit in asked} == asked
    with cgroup.updated(Resources(memory=Memory(limit=-1))):
        pass
    assert not cgroup.changes_memory(Resources(memory=Memory(limit=-1)))
    assert cgroup.changes_memory(Resources(unified={"memory.max": str(64 * MIB)}))


def test_limits_are_set_when_it_is_made_and_changed_one_by_one(cgroup):
    cgroup.create(Resources(memory=Memory(limit=64 * MIB), pids=50))
    assert _limits(cgroup) == (64, "50")
    with cgroup.updated(Resources(memory=Memory(limit=32 * MIB))):
        pass
    assert _limits(cgroup) == (32, "50")
    with cgroup.updated(Resources(pids=-1)):
        pass
    assert _limits(cgroup) == (32, "max")


def test_a_change_that_is_refused_leaves_every_limit_as_it_was(cgroup):
    cgroup.create(Resources(memory=Memory(limit=64 * MIB), pids=50))
    refused = pytest.raises(InvalidArgument, match=r"linux\.resources\.cpu\.quota: cgroup .*: '1( 100000)?': ")
    less_than_the_least = Resources(memory=Memory(limit=32 * MIB), cpu=Cpu(quota=1))
    with refused, cgroup.updated(less_than_the_least):
        pass
    assert _limits(cgroup) == (64, "50")


def test_what_fails_while_a_change_is_made_takes_it_back(cgroup):
    cgroup.create(Resources(memory=Memory(limit=64 * MIB), pids=50))

    def fail():
        assert _limits(cgroup) == (64, "7")
        raise InvalidArgument("elsewhere")

    with pytest.raises(InvalidArgument, match="elsewhere"), cgroup.updated(Resources(pids=7)):
        fail()
    assert _limits(cgroup) == (64, "50")


def test_a_limit_on_processes_holds(cgroup):
    cgroup.create(Resources(pids=1))

    def fork_once():
        joining.join(cgroup)
        try:
            pid = os.fork()
        except BlockingIOError:
            return "refused"
        if pid == 0:
            os._exit(0)
        return "forked"

    assert in_child(fork_once) == "refused"


def test_a_limit_that_the_host_cannot_hold_is_refused_by_name(cgroup):
    with pytest.raises(PelagosError, match=r"linux\.resources\.(network|rdma|unified)"):
        cgroup.create(Resources(class_id=1, unified={"none.such": "1"}))


def test_a_user_without_control_groups_gets_an_error():
    with pytest.raises(FailedPrecondition, match=r"memory\.limit: this host has no control groups for this user"):
        Cgroup(()).create(Resources(memory=Memory(limit=64 * MIB)))
    Cgroup(()).create(Resources())


def test_devices_that_are_not_allowed_cannot_be_opened(cgroup):
    cgroup.create(Resources(devices=(DeviceRule(False, "a"),)))
    assert _can_open(cgroup, "/dev/null")
    assert not _can_open(cgroup, "/dev/kmsg")


def test_a_device_that_is_allowed_can_be_opened(cgroup):
    cgroup.create(Resources(devices=(DeviceRule(False), DeviceRule(True, "c", 1, 11, "r"))))
    assert _can_open(cgroup, "/dev/kmsg")


def test_with_all_devices_allowed_there_is_no_rule(cgroup):
    cgroup.create(Resources(devices=(DeviceRule(False), DeviceRule(True))))
    assert _can_open(cgroup, "/dev/kmsg")


def _can_open(cgroup, device):
    def attempt():
        joining.join(cgroup)
        try:
            os.close(os.open(device, os.O_RDONLY | os.O_NONBLOCK))
        except PermissionError:
            return False
        return True

    return in_child(attempt)


@pytest.fixture
def sleeper(cgroup):
    cgroup.create(Resources())
    pid = os.fork()
    if pid == 0:
        try:
            joining.join(cgroup)
            signal.pause()
        finally:
            os._exit(1)
    _until(lambda: all(_holds(path, pid) for path in cgroup.paths))
    yield pid
    cgroup.kill(signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_frozen_group_stops_and_goes_on(cgroup, sleeper):
    assert not cgroup.is_frozen()
    cgroup.freeze()
    _until(cgroup.is_frozen)
    cgroup.thaw()
    _until(lambda: not cgroup.is_frozen())
    cgroup.thaw()  # again: it is no error


def test_a_frozen_group_can_be_killed_and_removed(cgroup, sleeper):
    cgroup.freeze()
    _until(cgroup.is_frozen)
    _until(cgroup.try_remove)
    _until(lambda: os.waitid(os.P_PID, sleeper, os.WEXITED | os.WNOHANG | os.WNOWAIT))


def test_a_group_that_is_not_there_cannot_be_frozen(cgroup):
    with pytest.raises(FailedPrecondition, match="cannot pause"):
        cgroup.freeze()
    assert not cgroup.is_frozen()
    assert cgroup.processes() == []


def _holds(path, pid):
    with open(f"{path}/cgroup.procs") as file:
        return str(pid) in file.read().split()


def _until(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)
