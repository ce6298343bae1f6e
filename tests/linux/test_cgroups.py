"""Control groups: where they are on which host, and a real one."""

import os
import secrets
import signal
import time

import pytest

from pelagos_core.errors import FailedPrecondition, InvalidArgument
from pelagos_core.linux.cgroups import Cgroup, Hierarchy, parse_mountinfo, relative_path

V1 = """\
30 23 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:10 - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/sys\\040temd rw shared:11 - cgroup cgroup rw,xattr,name=systemd
"""
V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_the_hierarchies_of_a_v1_host():
    assert parse_mountinfo(V1) == (
        Hierarchy("/sys/fs/cgroup/cpu,cpuacct", frozenset({"cpu", "cpuacct"})),
        Hierarchy("/sys/fs/cgroup/sys temd", frozenset({"xattr", "name=systemd"})),
    )


def test_the_hierarchy_of_a_v2_host():
    assert parse_mountinfo(V2) == (Hierarchy("/sys/fs/cgroup", frozenset()),)


def test_a_hybrid_hosts_limits_are_v1s():
    assert parse_mountinfo(V1 + V2) == parse_mountinfo(V1)


@pytest.mark.parametrize(
    ("path", "relative"),
    [
        ("", "/pelagos/c1"),
        ("/a/b", "/a/b"),
        ("a//./b/", "/a/b"),
        ("system.slice:pelagos:c1", "/system.slice/pelagos-c1.scope"),
        (":pelagos:c1", "/system.slice/pelagos-c1.scope"),
        (
            "kubepods-burstable-pod1.slice:cri:c1",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-c1.scope",
        ),
        ("-.slice:x:c1", "/x-c1.scope"),
        ("a.slice::c1", "/a.slice/c1.scope"),
        ("a.slice:x:b.slice", "/a.slice/b.slice"),
    ],
)
def test_the_shape_of_a_path_tells_whose_it_is(path, relative):
    assert relative_path(path, "c1") == relative


@pytest.mark.parametrize("path", ["/", "/.", "x:y:z", "a--b.slice:x:y"])
def test_a_path_that_cannot_be_is_refused(path):
    with pytest.raises(InvalidArgument, match=r"linux\.cgroupsPath"):
        relative_path(path, "c1")


@pytest.fixture
def cgroup():
    made = Cgroup.of(f"/pelagos-test-{secrets.token_hex(4)}/inner", "c1")
    yield made
    _until(made.try_remove)
    for path in made.paths:
        if os.path.isdir(os.path.dirname(path)):
            os.rmdir(os.path.dirname(path))


@pytest.mark.root
def test_a_group_is_made_joined_emptied_and_removed(cgroup):
    cgroup.check_unused()
    cgroup.create()
    cgroup.create()  # again: it is there
    assert cgroup.processes() == []
    pid = os.fork()
    if pid == 0:
        try:
            cgroup.join()
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


def _holds(path, pid):
    with open(f"{path}/cgroup.procs") as file:
        return str(pid) in file.read().split()


def _until(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)
