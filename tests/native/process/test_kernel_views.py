"""The kernel's list of mounts, read in C: which are in a root, and which of them others cover.

What is refused and what is unmounted is in tests/rootfs/test_kernel_views.py.
"""

import subprocess

import pytest

from tests.fuzz.test_mount_list import SOURCES
from tests.support.c_program import sanitized

pytestmark = pytest.mark.compiler

TEXT = rb"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:21 / /proc rw,nosuid,nodev,noexec shared:13 master:1 - proc proc rw
24 22 0:22 /a\040b /mnt/a\040b\134c ro - tmpfs tmpfs rw
25 24 0:23 / /mnt/a\040b\134c/x rw - fuse.lxcfs lxcfs rw
26 22 0:23 / /mnt/a\040b rw - ext4 lxcfs rw
"""

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


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Run the program that shows the mounts of a text; its lines."""
    program = sanitized(tmp_path_factory.mktemp("table") / "mount_list", SOURCES)

    def run(text, top="/r", root=10):
        done = subprocess.run([program, "show", top, str(root)], input=text, stdout=subprocess.PIPE, check=True)
        return done.stdout.decode().splitlines()

    return run


def test_mounts_are_read_as_the_kernel_writes_them(table):
    assert table(TEXT, "/", 22) == [
        "22 / ext4 inside",
        "23 /proc proc inside",
        "24 /mnt/a\\040b\\134c tmpfs inside",
        "25 /mnt/a\\040b\\134c/x fuse.lxcfs inside",
        "26 /mnt/a\\040b ext4 inside",
    ]
    assert table(TEXT, "/mnt/a\\040b\\134c", 24) == ["24 / tmpfs inside", "25 /x fuse.lxcfs inside"]


def test_what_others_cover_is_reported(table):
    hidden = [line.split()[1] for line in table(COVERED) if line.endswith("inside hidden")]
    # Below a mount whose root is covered, and below a directory that is: with all that is on them.
    assert hidden == ["/a", "/a/b", "/d/e", "/d/e/f"]


def test_a_mount_may_come_before_the_one_that_it_is_on(table):
    lines = COVERED.splitlines(keepends=True)
    assert sorted(table(b"".join(reversed(lines)))) == sorted(table(COVERED))


def test_what_the_root_itself_covers_is_not_in_it(table):
    text = b"8 1 0:1 / /r rw - ext4 a rw\n9 8 0:7 / /r/p rw - proc a rw\n" + COVERED.replace(b"10 1 ", b"10 8 ")
    assert [line for line in table(text) if "outside" in line] == ["8 / ext4 outside", "9 /p proc outside"]


def test_thousands_of_mounts_on_one_another_are_looked_through(table):
    stacked = [b"%d %d 0:1 / /r rw - ext4 a rw\n" % (number + 1, number) for number in range(9, 5000)]
    lines = table(b"".join(reversed(stacked)))
    assert len(lines) == len(stacked)
    assert [line for line in lines if not line.endswith("hidden")] == ["5000 / ext4 inside"]


def test_a_root_that_is_not_listed_is_an_error(table):
    assert table(COVERED, root=7) == ["error 116"]  # ESTALE
    assert table(COVERED, "/none") == ["error 116"]


def test_more_mounts_than_there_is_room_for_are_an_error(table):
    some = [b"%d 10 0:1 / /r/%d rw - ext4 a rw\n" % (number, number) for number in range(11, 8202)]
    assert len(table(COVERED[: COVERED.index(b"11")] + b"".join(some))) == 8192
    assert table(COVERED[: COVERED.index(b"11")] + b"".join([*some, b"9999 10 0:1 / /r/x rw - ext4 a rw\n"])) == [
        "error 75"  # EOVERFLOW
    ]


def test_of_a_very_long_line_what_is_needed_is_read(table):
    long = b"19 10 0:10 / /r/long rw - overlay overlay rw,lowerdir=%b\n"
    expected = [*table(COVERED), "19 /long overlay inside", "20 /z proc inside"]
    for size in (65000, 65490, 65500, 65536, 65537, 65600, 131072, 131080, 200000):
        assert table(COVERED + long % (b"x" * size) + b"20 10 0:11 / /r/z rw - proc proc rw\n") == expected
    assert table(COVERED + b"19 10 0:10 / /r/%b rw - ext4 a rw\n" % (b"x" * 70000)) == ["error 75"]


@pytest.mark.parametrize(
    "line",
    [
        b"not a mount",
        b"10 1 0:1 / /r rw",
        b"10 1 0:1 / /r rw shared:1 ext4 a rw",
        b"10 1 0:1 / /r rw -",
        b"10 1 0:1 / /r rw - ext4",
        b"x 1 0:1 / /r rw - ext4 a rw",
        b"-1 1 0:1 / /r rw - ext4 a rw",
        b"2147483648 1 0:1 / /r rw - ext4 a rw",
        b"99999999999 1 0:1 / /r rw - ext4 a rw",
        b" 1 0:1 / /r rw - ext4 a rw",
    ],
)
def test_what_is_no_such_list_is_an_error(table, line):
    assert table(COVERED + line + b"\n") == ["error 74"]  # EBADMSG


def test_a_line_without_an_end_is_an_error(table):
    assert table(COVERED[:-1]) == ["error 74"]
