"""The kernel's list of mounts, line by line."""

import pytest

from pelagos_core.linux import mountinfo
from pelagos_core.linux.mountinfo import MountLine

TEXT = rb"""23 22 0:21 / /proc rw,nosuid shared:13 master:1 - proc proc rw
24 22 0:22 /a\040b /mnt/a\040b\134c ro - cgroup cgroup rw,cpu,cpuacct
25 24 0:22 / /\377 ro - tmpfs tmpfs rw
"""


def test_lines_are_read_with_their_escapes():
    assert list(mountinfo.parse(TEXT)) == [
        MountLine("/", "/proc", "proc", frozenset({"rw"})),
        MountLine("/a b", "/mnt/a b\\c", "cgroup", frozenset({"rw", "cpu", "cpuacct"})),
        MountLine("/", "/\udcff", "tmpfs", frozenset({"rw"})),
    ]


def test_a_path_with_another_line_end_in_it_is_one_line():
    (line,) = mountinfo.parse(b"25 24 0:22 / /a\rb ro - tmpfs tmpfs rw\n")
    assert line.path == "/a\rb"


def test_lines_without_some_bytes_are_passed_over():
    assert [line.type for line in mountinfo.parse(TEXT + b"not a mount\n", b"/mnt")] == ["cgroup"]


def test_what_is_no_mountinfo_is_refused():
    with pytest.raises(ValueError, match="unpack"):
        list(mountinfo.parse(b"not a mount\n"))
