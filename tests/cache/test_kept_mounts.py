"""Mounts that are kept: used again only while the entry is the same."""

import os
import shutil

import pytest

from pelagos_core.cache import kept_mounts
from pelagos_core.cache.kept_mounts import KeptMounts
from pelagos_core.cache.store import Store
from pelagos_core.errors import PermissionDenied
from tests.support import code

pytestmark = pytest.mark.root


@pytest.fixture
def store(tmp_path):
    with Store(str(tmp_path / "store")) as opened:
        yield opened


@pytest.fixture
def mounts():
    made = KeptMounts()
    yield made
    made.close()


@pytest.fixture
def looks(monkeypatch):
    """The names that were looked up in the store itself."""
    found = []
    find = Store.find
    monkeypatch.setattr(Store, "find", lambda self, name: found.append(name) or find(self, name))
    return found


def test_the_store_is_looked_into_once_for_an_entry(store, mounts, looks):
    assert mounts.find(store.path, code.about().key.name) is None
    names = [code.keep(store, name) for name in "ab"]
    looks.clear()
    for name in names * 3:
        assert code.read(mounts.find(store.path, name)) == code.CODE
    assert looks == names
    first, second = (mounts.find(store.path, names[0]) for _ in range(2))
    assert first != second
    assert os.fstat(first) == os.fstat(second)
    os.close(first)
    os.close(second)
    with pytest.raises(OSError, match="Read-only"):
        os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=next(iter(mounts._kept.values())).mount)


def test_what_was_just_compiled_is_kept_if_it_is_in_the_store(store, mounts, looks):
    name = code.keep(store)
    made = store.find(name)
    other = os.open("/", os.O_PATH)
    looks.clear()
    mounts.keep(store.path, name, other)
    mounts.keep(store.path, "b" * 64, made)
    assert not mounts._kept
    for _ in range(2):
        mounts.keep(store.path, name, made)
    os.close(made)
    os.close(other)
    assert code.read(mounts.find(store.path, name)) == code.CODE
    assert not looks


def rewrite(path):
    os.chmod(path / "code", 0o644)
    (path / "code").write_bytes(b"evil")


def rewrite_and_hide(path):
    status = os.stat(path / "code")
    (path / "code").write_bytes(b"e" * status.st_size)
    os.utime(path / "code", ns=(status.st_atime_ns, status.st_mtime_ns))


def replace(path):
    shutil.copytree(path, f"{path}.new")
    shutil.rmtree(path)
    os.rename(f"{path}.new", path)


@pytest.mark.parametrize(
    "change",
    [
        shutil.rmtree,
        rewrite,
        rewrite_and_hide,
        replace,
        lambda path: os.chmod(path, 0o777),
        lambda path: os.chmod(path / "code", 0o666),
        lambda path: os.chown(path / "code", 1, 1),
        lambda path: os.link(path / "code", path.parent / "other"),
        lambda path: os.rename(path.parent, f"{path.parent}.gone"),
    ],
)
def test_a_changed_entry_is_looked_up_again_and_refused(store, mounts, looks, tmp_path, change):
    name = code.keep(store)
    assert code.read(mounts.find(store.path, name)) == code.CODE
    looks.clear()
    change(tmp_path / "store" / name)
    assert mounts.find(store.path, name) is None
    assert looks == [name]


def test_an_entry_that_was_compiled_again_is_the_new_one(store, mounts):
    name = code.keep(store)
    os.close(mounts.find(store.path, name))
    store.remove(name)
    code.keep(store)
    directory = mounts.find(store.path, name)
    assert os.fstat(directory).st_ino == os.stat(f"{store.path}/{name}").st_ino
    os.close(directory)


def test_a_store_that_others_can_write_to_is_refused(store, mounts):
    name = code.keep(store)
    os.close(mounts.find(store.path, name))
    os.chmod(store.path, 0o777)
    with pytest.raises(PermissionDenied):
        mounts.find(store.path, name)


def test_no_more_are_kept_than_are_good(store, mounts, monkeypatch, looks):
    monkeypatch.setattr(kept_mounts, "_MOST", 2)
    names = [code.keep(store, name) for name in "abc"]
    before = os.listdir("/proc/self/fd")
    for name in names:
        os.close(mounts.find(store.path, name))
    assert len(os.listdir("/proc/self/fd")) == len(before) + 2
    looks.clear()
    for name in (names[1], names[2], names[0]):
        os.close(mounts.find(store.path, name))
    assert looks == [names[0]]  # it was used least recently


def test_a_use_is_recorded_once_a_minute(store, mounts, monkeypatch):
    name = code.keep(store)
    seen = f"{store.path}/{name}/seen"
    os.close(mounts.find(store.path, name))
    os.utime(seen, (1, 1))
    os.close(mounts.find(store.path, name))
    assert os.stat(seen).st_mtime == 1
    monkeypatch.setattr(kept_mounts, "_TOUCH_SECONDS", 0)
    os.close(mounts.find(store.path, name))
    assert os.stat(seen).st_mtime > 1
