"""The kernel's list of mounts, read; and what of it shows the kernel."""

import os

import pytest

from pelagos_core.rootfs import mount_table
from pelagos_core.rootfs.mount_table import MountPoint

TEXT = rb"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:21 / /proc rw,nosuid,nodev,noexec shared:13 master:1 - proc proc rw
24 22 0:22 /a\040b /mnt/a\040b\134c ro - tmpfs tmpfs rw
25 22 0:23 / /x rw - fuse.lxcfs lxcfs rw
"""


def test_mounts_are_read_with_their_escapes():
    assert mount_table.parse(TEXT) == (
        MountPoint("/", "/", "ext4"),
        MountPoint("/proc", "/", "proc"),
        MountPoint("/mnt/a b\\c", "/a b", "tmpfs"),
        MountPoint("/x", "/", "fuse.lxcfs"),
    )


COVERED = rb"""10 1 0:1 / /r rw - ext4 a rw
11 10 0:2 /one /r/a rw - ext4 a rw
12 11 0:3 /two /r/a/b rw - ext4 a rw
13 11 0:4 / /r/a rw - tmpfs c rw
14 13 0:5 /in /r/a/c rw - ext4 a rw
15 10 0:6 /x /r/d/e rw - ext4 a rw
16 15 0:7 / /r/d/e/f rw - proc a rw
17 10 0:8 / /r/d rw - tmpfs c rw
18 10 0:9 /y /r/dd rw - ext4 a rw
"""


def test_what_others_cover_is_told():
    hidden = [mount.path for mount in mount_table.parse(COVERED, "/r") if mount.hidden]
    # Below a mount whose root is covered, and below a directory that is: with all that is on them.
    assert hidden == ["/r/a", "/r/a/b", "/r/d/e", "/r/d/e/f"]


def test_what_is_covered_shows_nothing_unless_it_is_the_kernel():
    found = {mount.path: mount.view() for mount in mount_table.parse(COVERED, "/r") if mount.hidden}
    assert found == {"/r/a": "", "/r/a/b": "", "/r/d/e": "", "/r/d/e/f": "proc"}
    assert MountPoint("/none/such", "/shm", "devtmpfs", hidden=True).view().startswith("it cannot be looked at")


def test_thousands_of_mounts_on_one_another_are_looked_through():
    stacked = [b"%d %d 0:1 / /r rw - ext4 a rw" % (number + 1, number) for number in range(1, 5000)]
    assert sum(mount.hidden for mount in mount_table.parse(b"\n".join(reversed(stacked)), "/r")) == len(stacked) - 1


def test_the_own_mounts_are_read():
    proc = os.open("/proc/self", os.O_PATH)
    try:
        assert MountPoint("/proc", "/", "proc") in mount_table.read(proc)
    finally:
        os.close(proc)


@pytest.mark.parametrize("kind", ["proc", "sysfs", "cgroup", "cgroup2", "devtmpfs", "debugfs", "bpf", "nsfs"])
def test_a_view_of_the_kernel_is_told_by_its_type_whatever_part_is_shown(tmp_path, kind):
    assert MountPoint("/x", "/", kind).view() == kind
    assert MountPoint(str(tmp_path), "/1/root", kind).view() == kind


@pytest.mark.parametrize("kind", ["ext4", "overlay", "tmpfs", "nfs4", "fuse.lxcfs", "hugetlbfs"])
def test_files_are_no_view_of_the_kernel(tmp_path, kind):
    assert MountPoint("/x", "/", kind).view() == ""
    assert MountPoint(str(tmp_path), "/some/directory", kind).view() == ""


def test_a_device_is_one_unless_it_is_harmless():
    assert MountPoint("/dev/null", "/null", "devtmpfs").view() == ""
    assert MountPoint("/dev/urandom", "/urandom", "tmpfs").view() == ""
    assert MountPoint("/dev/tty", "/tty", "tmpfs").view() == ""  # a process' own terminal, and no other
    assert MountPoint("/dev/ptmx", "/ptmx", "tmpfs").view() == "a device"


def test_what_lies_on_top_of_a_view_of_the_kernel_does_not_hide_it():
    assert MountPoint("/dev/null", "/1/mem", "proc").view() == "proc"


def test_what_cannot_be_looked_at_is_not_vouched_for():
    assert "cannot be looked at" in MountPoint("/none/such", "/x", "ext4").view()
