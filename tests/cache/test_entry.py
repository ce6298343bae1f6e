"""One entry: known to be good, looked at again, or broken."""

import os

import pytest

from pelagos_core.cache import entry as module
from pelagos_core.cache.entry import About, Entry
from pelagos_core.cache.own_file import Broken
from pelagos_core.cache.store import Store
from pelagos_core.errors import InvalidArgument
from tests.support import code

pytestmark = pytest.mark.root


@pytest.fixture
def directory(tmp_path):
    """The directory of an entry."""
    with Store(str(tmp_path / "store")) as store:
        name = code.keep(store)
    return tmp_path / "store" / name


def opened(directory):
    parent = os.open(directory.parent, os.O_PATH)
    try:
        return Entry.open(parent, directory.name)
    finally:
        os.close(parent)


def is_seen(directory):
    with opened(directory) as entry:
        return entry.is_seen()


def check(directory):
    with opened(directory) as entry:
        return entry.check()


def rewrite(path, data):
    path.chmod(0o600)
    path.write_bytes(data)
    path.chmod(0o444)


def test_what_is_known_comes_back_as_it_was_written(directory):
    assert About.decode((directory / "about").read_bytes()) == code.about()
    with opened(directory) as entry:
        assert entry.about() == code.about()
    assert {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()} == {
        "about": 0o400,
        "code": 0o444,
        "seen": 0o600,
    }


def test_an_entry_that_was_just_made_needs_no_look(directory):
    assert is_seen(directory)
    assert check(directory) == code.about()


def test_after_a_reboot_the_digest_is_taken_again(directory, monkeypatch):
    monkeypatch.setattr(module, "boot", lambda: "another")
    assert not is_seen(directory)
    check(directory)
    assert is_seen(directory)


def test_bytes_that_were_swapped_are_found_out(directory):
    changed = b"X" + code.CODE[1:]
    before = (directory / "code").stat()
    rewrite(directory / "code", changed)
    os.utime(directory / "code", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not is_seen(directory)
    with pytest.raises(Broken, match="its digest differs"):
        check(directory)


def test_an_entry_under_anothers_name_is_found_out(directory):
    other = directory.rename(directory.with_name("a" * 64))
    assert not is_seen(other)
    with pytest.raises(Broken, match="does not match"):
        check(other)


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda d: rewrite(d / "code", code.CODE[:-1]), "7999 bytes, not 8000"),
        (lambda d: rewrite(d / "code", b""), "0 bytes, not 8000"),
        (lambda d: (d / "code").unlink(), "code: No such file"),
        (lambda d: (d / "about").unlink(), "about: No such file"),
        (lambda d: rewrite(d / "about", b"{"), "about: not JSON"),
        (lambda d: rewrite(d / "about", b'{"size": "many"}'), "not an integer"),
        (lambda d: os.chown(d / "code", 1, 1), "code is not a regular file with one link, or can be written by others"),
        (lambda d: os.chmod(d / "code", 0o666), "code is not a regular file with one link"),
        (lambda d: os.link(d / "code", d.parent / "second"), "code is not a regular file with one link"),
        (lambda d: (os.rename(d / "code", d / "c"), os.symlink("c", d / "code")), "code: Too many levels"),
        (lambda d: (os.unlink(d / "code"), os.mkfifo(d / "code", 0o400)), "code is not a regular file with one link"),
        (lambda d: (os.unlink(d / "code"), (d / "code").mkdir(0o700)), "code is not a regular file with one link"),
    ],
)
def test_an_entry_that_is_not_as_it_should_be_is_broken(directory, harm, why):
    harm(directory)
    with pytest.raises(Broken, match=why):
        check(directory)
    if not why.startswith(("about", "not an")):  # what is only said of the code is not looked at each time
        assert not is_seen(directory)


@pytest.mark.parametrize(
    "harm",
    [
        lambda d: os.chmod(d, 0o777),
        lambda d: os.chown(d, 1, 1),
        lambda d: (os.rename(d, f"{d}.real"), os.symlink(f"{d}.real", d)),
        lambda d: (os.rename(d, f"{d}.real"), d.write_bytes(b"")),
    ],
)
def test_a_directory_that_is_not_ours_alone_is_not_entered(directory, harm):
    harm(directory)
    with pytest.raises(Broken):
        opened(directory)


def test_a_mark_that_another_user_could_write_is_ignored(directory):
    os.chown(directory / "seen", 1, 1)
    assert not is_seen(directory)


def test_use_is_remembered_without_a_change_to_the_code(directory):
    os.utime(directory / "seen", (1, 1))
    with opened(directory) as entry:
        assert entry.used() == 1.0
        entry.touch()
        assert entry.used() > 1.0
        assert entry.is_seen()


def test_what_is_lent_cannot_be_written_or_left(directory):
    with opened(directory) as entry:
        lent = entry.lend()
    try:
        assert os.stat("code", dir_fd=lent).st_ino == (directory / "code").stat().st_ino
        above = os.open("..", os.O_RDONLY, dir_fd=lent)
        assert os.fstat(above).st_ino == directory.stat().st_ino
        os.close(above)
        for change in (
            lambda: os.open("code", os.O_WRONLY, dir_fd=lent),
            lambda: os.open("new", os.O_WRONLY | os.O_CREAT, dir_fd=lent),
            lambda: os.chmod("code", 0o777, dir_fd=lent),
            lambda: os.unlink("code", dir_fd=lent),
        ):
            with pytest.raises(OSError, match="Read-only file system"):
                change()
    finally:
        os.close(lent)


def test_nonsense_is_not_read_as_knowledge():
    with pytest.raises(InvalidArgument, match="about"):
        About.decode(b"[]")
