"""Where control groups are on which host, and where in them a container's belongs."""

import pytest

from pelagos_core.cgroups.hierarchies import Hierarchy, parse_mountinfo, relative_path
from pelagos_core.errors import InvalidArgument

V1 = b"""\
30 23 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:10 - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/sys\\040temd rw shared:11 - cgroup cgroup rw,xattr,name=systemd
"""
V2 = b"30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_the_hierarchies_of_a_v1_host():
    assert parse_mountinfo(V1) == (
        Hierarchy("/sys/fs/cgroup/cpu,cpuacct", frozenset({"cpu", "cpuacct"})),
        Hierarchy("/sys/fs/cgroup/sys temd", frozenset({"xattr", "name=systemd"})),
    )


def test_the_hierarchy_of_a_v2_host():
    assert parse_mountinfo(V2) == (Hierarchy("/sys/fs/cgroup"),)


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
