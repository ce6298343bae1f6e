"""Where it is kept what is known of modules: found again, trusted only if it is ours, and never too much."""

import json
import os
import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pelagos_core.cache import known_store as module
from pelagos_core.cache.known_store import KnownModules, KnownStore
from pelagos_core.cache.store import Store
from pelagos_core.config.node_file import CacheSettings
from pelagos_core.plugin.hookspecs import Detection
from tests.cache.test_known_module import KEY, KNOWN


@pytest.fixture
def cache(tmp_path):
    return CacheSettings(str(tmp_path / "cache"))


@pytest.fixture
def path(cache):
    """The file of KEY, with what is known under it."""
    KnownModules().keep(cache, KEY, KNOWN)
    return f"{cache.directory}/known/{KEY.name}"


def found(cache, key=KEY):
    """By a process that has looked for nothing yet."""
    return KnownModules().find(cache, key)


def names(cache):
    return set(os.listdir(f"{cache.directory}/known"))


def other(number):
    return replace(KEY, module=str(number))


def test_what_is_kept_is_found_by_every_process(cache):
    modules = KnownModules()
    assert modules.find(cache, KEY) is None
    modules.keep(cache, KEY, KNOWN)
    assert modules.find(cache, KEY) == found(cache) == KNOWN
    assert found(cache, other(1)) is None
    assert names(cache) == {KEY.name}


def test_it_is_this_user_s_alone(cache, path):
    modes = [stat.S_IMODE(os.stat(each).st_mode) for each in (cache.directory, os.path.dirname(path), path)]
    assert modes == [0o700, 0o700, 0o600]


# A user could not enter a directory of the second one.
@pytest.mark.parametrize("umask", [0, pytest.param(0o777, marks=pytest.mark.root)])
def test_whatever_the_umask(cache, umask):
    before = os.umask(umask)
    try:
        KnownModules().keep(cache, KEY, KNOWN)
    finally:
        os.umask(before)
    assert not os.stat(f"{cache.directory}/known").st_mode & 0o077


def link_to_itself(path):
    os.rename(path, f"{path}.real")
    os.symlink(f"{path}.real", path)


def written(data):
    return lambda path: Path(path).write_bytes(data)


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: os.chmod(path, 0o666),
        lambda path: os.chmod(path, 0o620),
        link_to_itself,
        lambda path: os.link(path, f"{path}-too"),
        lambda path: (os.unlink(path), os.mkfifo(path)),
        lambda path: (os.unlink(path), os.mkdir(path)),
        pytest.param(lambda path: os.chown(path, 1, 1), marks=pytest.mark.root),
        lambda path: os.chmod(os.path.dirname(path), 0o777),
        lambda path: os.chmod(os.path.dirname(os.path.dirname(path)), 0o755),
        pytest.param(lambda path: os.chown(os.path.dirname(path), 1, 1), marks=pytest.mark.root),
        lambda path: link_to_itself(os.path.dirname(path)),
        lambda path: open(path, "w").close(),
        lambda path: os.truncate(path, 100),
        lambda path: os.truncate(path, os.path.getsize(path) + 1),
        lambda path: os.truncate(path, 1 << 20),
        written(b"\xff" * 100),
        written(b"[" * 30_000),
        written(b'{"key": [], "known": {}}'),
        written(b'{"key": {"a": 1}, "known": {}}'),
    ],
)
def test_what_is_foreign_or_malformed_is_not_known(cache, path, harm):
    harm(path)
    assert found(cache) is None


def test_a_malformed_file_is_written_again(cache, path):
    open(path, "w").close()
    KnownModules().keep(cache, KEY, KNOWN)
    assert found(cache) == KNOWN


def test_what_another_key_s_file_says_is_not_known(cache, path):
    os.rename(path, os.path.join(os.path.dirname(path), other(1).name))
    assert found(cache, other(1)) is None


def test_what_processes_have_learnt_apart_is_put_together(cache):
    first, second = KnownModules(), KnownModules()
    a = replace(KNOWN, detections={"a": Detection.can(9, "yes")}, programs=frozenset(), settings={"a": ""})
    b = replace(a, detections={"b": Detection.can(8, "yes")}, settings={"b": "fuel"})
    first.keep(cache, KEY, a)
    assert second.find(cache, KEY) == a
    first.keep(cache, KEY, b)
    second.keep(cache, KEY, a)
    assert found(cache).settings == {"a": "", "b": "fuel"} == second.find(cache, KEY).settings


def test_what_is_known_already_is_not_written_again(cache, path):
    before = os.stat(path).st_ino
    KnownModules().keep(cache, KEY, KNOWN)
    assert os.stat(path).st_ino == before


def test_a_few_are_held_in_memory_the_last_ones(cache):
    modules = KnownModules(most=2)
    for number in (1, 2):
        modules.keep(cache, other(number), KNOWN)
    modules.find(cache, other(1))
    modules.keep(cache, other(3), KNOWN)
    with KnownStore(cache.directory) as store:
        store.prune(lambda entry: True)
    assert [modules.find(cache, other(number)) for number in (1, 2, 3)] == [KNOWN, None, KNOWN]


@pytest.mark.parametrize("directory", ["/proc/none", "/dev/null/none"])
def test_without_a_disk_it_is_known_to_one_process(directory, caplog):
    modules, cache = KnownModules(), CacheSettings(directory)
    modules.keep(cache, KEY, KNOWN)
    assert modules.find(cache, KEY) == KNOWN
    assert found(cache) is None
    assert "the record of a module is not stored" in caplog.text


def test_a_cache_that_is_to_keep_nothing_keeps_nothing(cache):
    modules, nothing = KnownModules(), replace(cache, size=0)
    modules.keep(nothing, KEY, KNOWN)
    assert modules.find(nothing, KEY) == KNOWN
    assert not os.path.exists(cache.directory)


def test_those_that_were_not_used_for_long_make_room(cache, monkeypatch):
    monkeypatch.setattr(module, "_MOST", 8)
    for number in range(8):
        KnownModules().keep(cache, other(number), KNOWN)
        os.utime(f"{cache.directory}/known/{other(number).name}", (number, number))
    assert found(cache, other(0))  # a use
    KnownModules().keep(cache, other(8), KNOWN)
    assert names(cache) == {other(number).name for number in (0, 3, 4, 5, 6, 7, 8)}


def test_a_function_s_name_of_any_length_is_no_way_to_a_large_file(cache):
    long = replace(KEY, func="f" * (1 << 20))
    KnownModules().keep(cache, long, KNOWN)
    assert names(cache) == set()


def test_what_is_useless_goes_and_what_is_no_entry_too(cache, path):
    KnownModules().keep(cache, other(1), KNOWN)
    directory = os.path.dirname(path)
    os.makedirs(f"{directory}/.new-1/deep")
    os.symlink("/", f"{directory}/{'e' * 64}")
    with open(f"{directory}/{'f' * 64}", "w") as file:
        json.dump({}, file)
    os.utime(path, (30, 30))
    with KnownStore(cache.directory) as store:
        assert [(entry.name, entry.key, entry.known, entry.used) for entry in store.prune(lambda e: e.used < 40)] == [
            (KEY.name, KEY, KNOWN, 30.0)
        ]
        (left,) = store.entries()
    assert (left.key, left.disk_bytes > 0) == (other(1), True)
    assert names(cache) == {other(1).name}


def test_the_store_of_code_leaves_it_alone(cache, path):
    with Store(cache.directory) as store:
        assert list(store.entries()) == []
        assert store.prune(0) == []
    assert found(cache) == KNOWN


def test_a_use_counts(cache, path):
    os.utime(path, (1, 1))
    assert found(cache)
    assert time.time() - os.stat(path).st_mtime < 60
