"""What makes a loaded process stale."""

import contextlib
import importlib
import os
import signal
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

import pelagos_native
from pelagos_core.backends import installed
from pelagos_core.backends.registry import Backends, Failure, Plugin
from pelagos_core.plugin.hookspecs import hookimpl
from pelagos_core.zygote import freshness
from pelagos_core.zygote.freshness import Freshness
from tests.support.traces import children


@pytest.fixture(autouse=True)
def _quiet(monkeypatch, tmp_path):
    # What other processes of a test machine change all the time is not looked at here.
    monkeypatch.setattr(sys, "path", [path for path in sys.path if "python3" in path])
    monkeypatch.setenv("PATH", "/usr/bin")


def test_nothing_changed_is_fresh():
    assert not Freshness(Backends(())).is_stale()


def test_a_distribution_that_comes_or_goes_counts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    taken = Freshness(Backends(()))
    assert not taken.is_stale()
    (tmp_path / "new.dist-info").mkdir()
    assert taken.is_stale()


def test_a_module_that_is_written_or_replaced_counts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "pelagos_test_edited.py"
    module.write_text("")
    importlib.import_module(module.stem)
    try:
        taken = Freshness(Backends(()))
        assert not taken.is_stale()
        module.write_text("x = 1")
        assert taken.is_stale()
    finally:
        del sys.modules[module.stem]


@pytest.mark.parametrize("name", ["LIBRARY", "NURSERY"])
def test_what_is_compiled_counts(tmp_path, monkeypatch, name):
    monkeypatch.setattr(pelagos_native, name, tmp_path / "compiled")
    (tmp_path / "compiled").touch()
    taken = Freshness(Backends(()))
    assert not taken.is_stale()
    (tmp_path / "compiled").write_text("anew")
    assert taken.is_stale()


def test_the_config_and_the_programs_count(tmp_path, monkeypatch):
    monkeypatch.setenv("PELAGOS_CONFIG", str(tmp_path / "config.toml"))
    taken = Freshness(Backends(()))
    (tmp_path / "config.toml").write_text("")
    assert taken.is_stale()
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    taken = Freshness(Backends(()))
    assert not taken.is_stale()
    (tmp_path / "bin/engine").touch()
    assert taken.is_stale()


LAME = Failure("lame", "import", "RuntimeError: no library")


@pytest.fixture
def seconds(monkeypatch):
    """Lets the clock of the module be moved."""
    clock = [0.0]
    monkeypatch.setattr(freshness.time, "monotonic", lambda: clock[0])
    return clock


@pytest.fixture
def lame(monkeypatch, tmp_path):
    """The only backend of the environment; it lacks a library in a place that has no stamp."""

    def load():
        if not (tmp_path / "library").exists():
            raise RuntimeError("no library")
        return SimpleNamespace(pelagos_spawn=hookimpl(lambda: None))

    monkeypatch.setattr(installed, "plugins", lambda: (Plugin("lame", "1", load),))
    handler = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # as a zygote
    yield tmp_path / "library"
    signal.signal(signal.SIGCHLD, handler)


def test_one_whose_backend_cannot_be_used_is_fresh_as_long_as_it_cannot(lame, seconds):
    taken = Freshness(Backends((), (LAME,)))
    for seconds[0] in (0.0, 11.0, 22.0):
        assert not taken.is_stale()
    lame.touch()
    seconds[0] = 31.0
    assert not taken.is_stale()  # not tried at each request
    seconds[0] = 33.0
    assert taken.is_stale()


def test_one_whose_backend_fails_otherwise_is_stale(lame, seconds):
    taken = Freshness(Backends((), (replace(LAME, reason="RuntimeError: no program"),)))
    seconds[0] = 11.0
    assert taken.is_stale()


@pytest.mark.parametrize("end", [lambda: os._exit(0), lambda: time.sleep(60)], ids=["ends", "hangs"])
def test_one_whose_backend_cannot_be_tried_is_stale(lame, seconds, monkeypatch, end):
    monkeypatch.setattr(freshness, "_TRY_SECONDS", 0.2)
    monkeypatch.setattr(installed, "plugins", lambda: (Plugin("lame", "1", end),))
    taken = Freshness(Backends((), (LAME,)))
    seconds[0] = 11.0
    before = set(children(os.getpid()))
    assert taken.is_stale()
    for pid in set(children(os.getpid())) - before:  # one that hangs ends with the zygote
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
