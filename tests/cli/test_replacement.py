"""Files that are replaced whole: attacked, on a full disk, and killed at each step."""

import os
import signal
import stat
import subprocess
import sys

import pytest

from pelagos_core.cli import replacement
from pelagos_core.cli.replacement import Change, apply, read
from pelagos_core.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from tests.support.absent import ABSENT

root = pytest.mark.root


def test_a_file_is_made_changed_and_removed(tmp_path):
    path = str(tmp_path / "a")
    apply(Change(path, None, b"one", 0o755))
    assert (read(path), stat.S_IMODE(os.stat(path).st_mode)) == (b"one", 0o755)
    apply(Change(path, b"one", b"two"))
    assert read(path) == b"two"
    apply(Change(path, b"two", None))
    assert (read(path), os.listdir(tmp_path)) == (None, [])


@root
def test_a_changed_file_keeps_owner_mode_and_attributes(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    os.chown(path, 0, 7)
    path.chmod(0o640)
    try:
        os.setxattr(path, "user.label", b"x")
        attributes = ["user.label"]
    except OSError:
        attributes = []
    apply(Change(str(path), b"one", b"two"))
    status = path.stat()
    assert (status.st_gid, stat.S_IMODE(status.st_mode), os.listxattr(path)) == (7, 0o640, attributes)


def test_a_launcher_is_executable_whatever_was_there(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    path.chmod(0o600)
    apply(Change(str(path), b"one", b"two", 0o755))
    assert stat.S_IMODE(path.stat().st_mode) == 0o755


def test_a_file_that_others_have_changed_meanwhile_is_left(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"theirs")
    with pytest.raises(FailedPrecondition, match="has been changed meanwhile"):
        apply(Change(str(path), b"one", b"two"))
    assert os.listdir(tmp_path) == ["a"]
    assert path.read_bytes() == b"theirs"


def make(path, kind):
    if kind == "link":
        path.symlink_to("/etc/hostname")
    elif kind == "dangling link":
        path.symlink_to(ABSENT)
    elif kind == "FIFO":
        os.mkfifo(path)
    else:
        path.mkdir()


@pytest.mark.parametrize("kind", ["link", "dangling link", "FIFO", "directory"])
def test_what_is_no_regular_file_is_refused_without_waiting_for_it(tmp_path, kind):
    path = tmp_path / "a"
    make(path, kind)
    with pytest.raises(AlreadyExists, match="not a regular file"):
        read(str(path))
    with pytest.raises(AlreadyExists):
        apply(Change(str(path), b"", b"two"))


@pytest.mark.parametrize("kind", ["link", "dangling link", "FIFO"])
def test_by_force_the_name_is_replaced_and_not_what_it_leads_to(tmp_path, kind):
    path = tmp_path / "a"
    make(path, kind)
    apply(Change(str(path), None, b"two", force=True))
    assert (path.is_symlink(), path.read_bytes()) == (False, b"two")


def test_a_large_file_is_refused(tmp_path):
    path = tmp_path / "a"
    with path.open("wb") as file:
        file.truncate(replacement.MAX_BYTES + 1)
    with pytest.raises(InvalidArgument, match="larger than 16 MiB"):
        read(str(path))


@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_a_directory_that_every_user_can_write_to_is_refused(tmp_path, mode):
    place = tmp_path / "open"
    place.mkdir()
    place.chmod(mode)
    with pytest.raises(PermissionDenied, match=rf"directory '{place}' can be written to by every user"):
        apply(Change(str(place / "a"), None, b"one"))
    assert os.listdir(place) == []


def test_so_is_one_below_it_unless_it_is_sticky(tmp_path):
    place = tmp_path / "open"
    (place / "mine").mkdir(parents=True)
    place.chmod(0o777)
    change = Change(str(place / "mine/a"), None, b"one")
    with pytest.raises(PermissionDenied, match=rf"directory '{place}' can"):
        apply(change)
    place.chmod(0o1777)
    apply(change)


@root
def test_a_directory_or_file_of_another_user_is_refused(tmp_path):
    place = tmp_path / "theirs"
    place.mkdir()
    os.chown(place, 1234, 1234)
    with pytest.raises(PermissionDenied, match="belongs to user 1234"):
        apply(Change(str(place / "a"), None, b"one"))
    with pytest.raises(PermissionDenied, match="belongs to user 1234"):
        replacement.resolve(str(place / "a"))
    path = tmp_path / "a"
    path.write_bytes(b"x")
    os.chown(path, 1234, 1234)
    with pytest.raises(PermissionDenied, match="belongs to user 1234"):
        read(str(path))


def test_a_file_that_every_user_can_write_to_is_refused(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x")
    path.chmod(0o666)
    with pytest.raises(PermissionDenied, match="can be written to by every user"):
        read(str(path))


def test_a_missing_directory_is_named_or_made(tmp_path):
    path = str(tmp_path / "none/a")
    with pytest.raises(NotFound, match=rf"directory '{tmp_path}/none' does not exist"):
        apply(Change(path, None, b"one"))
    apply(Change(path, None, b"one", directory=True))
    (tmp_path / "none/other").write_text("mine")
    apply(Change(path, b"one", None, directory=True))
    assert os.listdir(tmp_path / "none") == ["other"]
    (tmp_path / "none/other").unlink()
    apply(Change(path, None, b"one", directory=True))
    apply(Change(path, b"one", None, directory=True))
    assert os.listdir(tmp_path) == []


@root
def test_on_a_full_disk_the_file_is_as_it_was(tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k,mode=755", "none", place], check=True)
    try:
        (place / "a").write_bytes(b"one")
        with pytest.raises(OSError, match="No space left"):
            apply(Change(str(place / "a"), b"one", bytes(100_000)))
        assert os.listdir(place) == ["a"]
        assert (place / "a").read_bytes() == b"one"
    finally:
        subprocess.run(["umount", place], check=True)


_KILLED = """
import os, signal, sys
from pelagos_core.cli import replacement
step, count = int(sys.argv[2]), 0
def counting(event, arguments):
    global count
    # What changes anything in the file system raises one of these.
    if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.chmod", "os.chown", "os.setxattr", "fcntl.flock"):
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)
change = replacement.Change(sys.argv[1], b"one", b"two")
sys.addaudithook(counting)
replacement.apply(change)
"""


def test_killed_at_any_step_the_file_is_the_old_or_the_new_one_and_the_next_command_cleans_up(tmp_path):
    path = tmp_path / "a"
    killed = 0
    for step in range(1, 60):
        path.write_bytes(b"one")
        done = subprocess.run([sys.executable, "-c", _KILLED, path, str(step)])
        left = path.read_bytes()
        assert left in (b"one", b"two")
        apply(Change(str(path), left, b"three"))
        assert os.listdir(tmp_path) == ["a"]
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        killed += 1
    assert killed > 5


def test_a_change_is_shown_as_a_diff():
    change = Change("/etc/a", b"one\ntwo", b"one\nthree\n")
    assert change.diff() == (
        "--- /etc/a\n+++ /etc/a\n@@ -1,2 +1,2 @@\n one\n-two\n\\ No newline at end of file\n+three\n"
    )
    assert Change("/etc/a", None, b"x\n").diff().startswith("--- /dev/null\n+++ /etc/a\n")
    assert Change("/etc/a", None, b"\0" * 7).diff() == "Binary file /etc/a: 0 bytes before, 7 after\n"
    assert not Change("/etc/a", b"x", b"x").needed
