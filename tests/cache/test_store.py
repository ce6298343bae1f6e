"""The store: which users may write to it, what it returns, and what it removes."""

import os
import signal
import stat

import pytest

from pelagos_core.cache.own_file import Broken
from pelagos_core.cache.store import Store
from pelagos_core.errors import PermissionDenied
from tests.support import code

pytestmark = pytest.mark.root


@pytest.fixture
def store(tmp_path):
    with Store(str(tmp_path / "a/store")) as opened:
        yield opened


def names(store):
    return {name for name in os.listdir(store.path) if name != "lock"}


def test_a_store_is_made_for_root_alone(store):
    status = os.stat(store.path)
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (0, 0o700)


@pytest.mark.parametrize("change", [lambda path: os.chmod(path, 0o777), lambda path: os.chown(path, 1, 1)])
def test_a_directory_that_others_could_write_to_is_refused(tmp_path, change):
    path = tmp_path / "store"
    path.mkdir(0o700)
    change(path)
    with pytest.raises(PermissionDenied, match=f"cache '{path}' is not root's alone"):
        Store(str(path))


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "real").mkdir(0o700)
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        Store(str(tmp_path / "link"))


def test_what_is_kept_is_found(store):
    assert store.find("a" * 64) is None
    assert store.checked("a" * 64) is None
    name = code.keep(store)
    assert code.read(store.find(name)) == code.CODE
    assert code.read(store.checked(name)) == code.CODE
    assert names(store) == {name}


def test_a_container_s_user_can_read_the_code_and_nothing_else_of_an_entry(store):
    name = code.keep(store)
    modes = {each: stat.S_IMODE(os.stat(f"{store.path}/{name}/{each}").st_mode) for each in ("code", "about", "seen")}
    assert modes == {"code": 0o444, "about": 0o400, "seen": 0o600}
    assert stat.S_IMODE(os.stat(f"{store.path}/{name}").st_mode) == 0o711


def test_a_broken_entry_is_not_used_and_is_written_again(store):
    name = code.keep(store)
    os.chmod(f"{store.path}/{name}/code", 0o644)
    with open(f"{store.path}/{name}/code", "r+b") as file:
        file.write(b"evil")
    assert store.find(name) is None
    with pytest.raises(Broken):
        store.checked(name)
    assert code.keep(store) == name
    assert code.read(store.find(name)) == code.CODE


@pytest.mark.parametrize("kind", ["link", "file", "directory"])
def test_whatever_is_in_an_entry_s_place_makes_room_for_it(store, tmp_path, kind):
    name = code.about().key.name
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/code").write_bytes(b"evil")
    place = f"{store.path}/{name}"
    if kind == "link":
        os.symlink(tmp_path / "elsewhere", place)
    elif kind == "file":
        open(place, "wb").close()
    else:
        os.makedirs(f"{place}/deep/er", mode=0o777)
    assert store.find(name) is None
    assert code.keep(store) == name
    assert code.read(store.find(name)) == code.CODE
    assert (tmp_path / "elsewhere/code").read_bytes() == b"evil"


def test_what_a_killed_process_has_begun_is_no_obstacle(store):
    name = code.about().key.name
    os.mkdir(f"{store.path}/.new-{name}")
    open(f"{store.path}/.new-{name}/code", "wb").close()
    code.keep(store)
    assert names(store) == {name}


def test_an_entry_on_a_full_disk_is_not_there_at_all(tmp_path):
    os.mkdir(tmp_path / "small")
    assert os.system(f"mount -t tmpfs -o size=64k,mode=700 small {tmp_path}/small") == 0
    try:
        with Store(str(tmp_path / "small")) as store:
            with pytest.raises(OSError, match="No space left"):
                code.keep(store, code=bytes(1 << 20))
            assert names(store) == set()
    finally:
        assert os.system(f"umount {tmp_path}/small") == 0


def test_a_lock_is_waited_for_and_ends_with_its_holder(store):
    name = code.about().key.name
    reader, writer = os.pipe()
    holder = os.fork()
    if holder == 0:
        with Store(store.path) as own:
            own.lock(name)
            os.write(writer, b"!")
            signal.pause()
        os._exit(0)
    assert os.read(reader, 1) == b"!"
    waiter = os.fork()
    if waiter == 0:
        with Store(store.path) as own:
            own.lock("f" * 64)  # another entry's is free
            own.lock(name)
        os._exit(7)
    assert os.waitpid(waiter, os.WNOHANG) == (0, 0)
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    assert os.waitstatus_to_exitcode(os.waitpid(waiter, 0)[1]) == 7
    os.close(reader)
    os.close(writer)


def used(store, *ages):
    """Entries called a, b, …, last used so many seconds after the epoch."""
    made = {name: code.keep(store, name) for name in "abcdefg"[: len(ages)]}
    for name, age in zip(made.values(), ages, strict=True):
        os.utime(f"{store.path}/{name}/seen", (age, age))
    return made


def test_the_least_recently_used_make_room(store):
    made = used(store, 30, 10, 20)
    size = os.stat(f"{store.path}/{made['a']}/code").st_blocks * 512
    removed = store.prune(2 * size)
    assert [entry.about.path for entry in removed] == ["/b.wasm"]
    assert names(store) == {made["a"], made["c"]}
    assert {entry.about.path: entry.used for entry in store.entries()} == {"/a.wasm": 30.0, "/c.wasm": 20.0}
    code.read(store.find(made["c"]))
    assert [entry.about.path for entry in store.prune(size)] == ["/a.wasm"]


def test_a_use_counts(store):
    made = used(store, 30, 10)
    code.read(store.find(made["b"]))
    size = os.stat(f"{store.path}/{made['a']}/code").st_blocks * 512
    assert [entry.about.path for entry in store.prune(size)] == ["/a.wasm"]


def test_what_is_useless_goes_and_what_is_no_entry_too(store):
    made = used(store, 30, 10)
    os.makedirs(f"{store.path}/.gone-xyz/deep")
    os.symlink("/", f"{store.path}/{'e' * 64}")
    open(f"{store.path}/notes", "wb").close()
    assert [entry.about.path for entry in store.prune(1 << 40, lambda entry: entry.used > 20)] == ["/a.wasm"]
    assert names(store) == {made["b"]}


def test_what_is_being_made_is_left_alone(store):
    busy, left = "1" * 64, "2" * 64
    os.mkdir(f"{store.path}/.new-{busy}")
    os.mkdir(f"{store.path}/.new-{left}")
    reader, writer = os.pipe()
    holder = os.fork()
    if holder == 0:
        with Store(store.path) as own:
            own.lock(busy)
            os.write(writer, b"!")
            signal.pause()
        os._exit(0)
    assert os.read(reader, 1) == b"!"
    store.prune(0)
    assert names(store) == {f".new-{busy}"}
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    os.close(reader)
    os.close(writer)


def test_code_that_was_lent_stays_whatever_happens_to_the_entry(store):
    name = code.keep(store)
    lent = store.find(name)
    mapped = os.open("code", os.O_RDONLY, dir_fd=lent)
    store.remove(name)
    assert os.read(mapped, 1 << 20) == code.CODE
    os.close(mapped)
    os.close(lent)
    assert names(store) == set()
    store.remove(name)
