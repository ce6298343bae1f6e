"""What makes a loaded process stale."""

import importlib
import sys

import pytest

import pelagos_native
from pelagos_core.backends.registry import Backends, Failure
from pelagos_core.zygote import freshness
from pelagos_core.zygote.freshness import Freshness


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


def test_one_whose_backend_cannot_be_used_is_not_trusted_for_long(monkeypatch):
    now = 0.0
    monkeypatch.setattr(freshness.time, "monotonic", lambda: now)
    taken = Freshness(Backends((), (Failure("lame", "import", "no library"),)))
    assert not taken.is_stale()
    now = 11.0
    assert taken.is_stale()
