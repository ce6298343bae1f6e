"""HOME is found in an image's passwd file, whatever an image puts there."""

import os

import pytest

from pelagos_core.launch import home
from pelagos_core.rootfs.root import Root

PASSWD = b"""root:x:0:0:root:/root:/bin/sh
# a comment
short:x:5
daemon:x:1:1::/usr/sbin:/usr/sbin/nologin
app:x:1000:1000:An app,,,:/srv/app:/bin/sh
again:x:1000:1000::/other:/bin/sh
empty:x:1001:1001:::/bin/sh
relative:x:1002:1002::srv:/bin/sh
latin:x:1003:1003::/caf\xe9:/bin/sh
nul:x:1004:1004::/a\0b:/bin/sh
bare:x:1005:1005::/six
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "rootfs" / "etc").mkdir(parents=True)
    root = Root(str(tmp_path / "rootfs"))
    root.process["root"] = os.open(root.path, os.O_PATH | os.O_DIRECTORY)
    yield root
    os.close(root.fd)


@pytest.mark.parametrize(
    ("uid", "found"),
    [
        *((0, "/root"), (1, "/usr/sbin"), (1000, "/srv/app"), (1005, "/six")),
        *((uid, "/") for uid in (5, 7, 1001, 1002, 1003, 1004, 2**32 - 2)),
    ],
)
def test_the_first_usable_entry_of_a_user_tells(uid, found):
    assert home.find(PASSWD, uid) == found


def test_a_home_of_no_usable_length_is_none():
    assert home.find(b"x:x:1:1::/" + b"a" * 5000 + b":/bin/sh\n", 1) == "/"


def test_it_is_added_where_there_is_none_or_an_empty_one(root):
    with open(f"{root.path}/etc/passwd", "wb") as file:
        file.write(PASSWD)
    assert home.completed(("A=1",), root, 1000) == ("A=1", "HOME=/srv/app")
    assert home.completed(("HOME=", "A=1"), root, 1000) == ("A=1", "HOME=/srv/app")
    assert home.completed(("HOME=/mine", "A=1"), root, 1000) == ("HOME=/mine", "A=1")
    assert home.completed(("HOMEPAGE=x",), root, 7) == ("HOMEPAGE=x", "HOME=/")


def test_a_link_leads_inside_the_root(root, tmp_path):
    (tmp_path / "rootfs" / "real").write_bytes(b"app:x:1000:1000::/inside:/bin/sh\n")
    os.symlink("/real", f"{root.path}/etc/passwd")
    assert home.completed((), root, 1000) == ("HOME=/inside",)


@pytest.mark.parametrize("kind", ["nothing", "fifo", "directory", "loop", "outside"])
def test_what_is_no_file_of_the_image_is_as_none(root, kind):
    path = f"{root.path}/etc/passwd"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        os.mkdir(path)
    elif kind == "loop":
        os.symlink("passwd", path)
    elif kind == "outside":
        os.symlink("/../../../../etc/passwd", path)  # the host's is not reached by it
    assert home.completed((), root, 0) == ("HOME=/",)


def test_no_more_than_a_mebibyte_is_read(root):
    with open(f"{root.path}/etc/passwd", "wb") as file:
        file.truncate(1 << 40)
        file.write(b"first:x:1:1::/first:\n")
    assert home.completed((), root, 1) == ("HOME=/first",)
