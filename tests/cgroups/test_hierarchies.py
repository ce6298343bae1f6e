"""Where control groups are on which host, and where in them a container's belongs."""

import pytest

import pelagos_core.cgroups.hierarchies as module
from pelagos_core.cgroups.hierarchies import Hierarchy, KnownHierarchies, hierarchies, parse_mountinfo, relative_path
from pelagos_core.errors import InvalidArgument
from pelagos_core.linux import syscalls
from pelagos_core.rootfs.propagation import make_mounts_private
from tests.support.child import in_child

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


@pytest.mark.root
def test_known_hierarchies_are_read_again_after_a_mount_has_changed(monkeypatch, tmp_path):
    reads = []
    parse = module.parse_mountinfo
    monkeypatch.setattr(module, "parse_mountinfo", lambda text: reads.append(text) or parse(text))

    def run():
        syscalls.unshare(syscalls.CLONE_NEWNS)
        make_mounts_private()
        known = KnownHierarchies()
        first = [known.now(), known.now()]
        before = len(reads)
        syscalls.mount("cgroup2", str(tmp_path), "tmpfs", 0, "")
        second = [known.now(), known.now()]
        return first, before, second, len(reads), reads[-1]

    first, before, second, after, text = in_child(run)
    assert first + second == [hierarchies()] * 4
    assert (before, after) == (1, 2)
    assert str(tmp_path).encode() in text


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
def test_the_format_of_a_path_selects_the_driver(path, relative):
    assert relative_path(path, "c1") == relative


@pytest.mark.parametrize("path", ["/", "/.", "x:y:z", "a--b.slice:x:y"])
def test_a_path_that_cannot_be_is_refused(path):
    with pytest.raises(InvalidArgument, match=r"linux\.cgroupsPath"):
        relative_path(path, "c1")
