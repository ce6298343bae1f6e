"""The native part of a backend: what may be loaded into a process of ours, and what is said of the rest."""

import os
import time

import pytest

from pelagos_core.backends import registry
from pelagos_core.plugin.hookspecs import NativePart
from tests.backends.test_registry import load, plugin, raising


def backend(answer):
    return load(b=plugin(native=answer)).named("b")


def part(directory, **changes):
    for name in ("library", "engine"):
        (directory / name).write_bytes(b"")
        (directory / name).chmod(0o644)
    return NativePart(**{"library": str(directory / "library"), "engine": str(directory / "engine"), **changes})


def test_one_without_has_none_and_nothing_to_say():
    for made in (load(b=plugin()).named("b"), backend(lambda: None)):
        assert (made.native, made.native_problem) == (None, "")


def test_one_that_may_be_loaded_is_asked_once(tmp_path):
    answers = []
    made = backend(lambda: answers.append(part(tmp_path, settings="x")) or answers[-1])
    assert made.native is made.native is answers[0]
    assert (made.native_problem, len(answers)) == ("", 1)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda: "/x.so", "TypeError: native returned str, not a NativePart"),
        (lambda: NativePart("engine.so", "/x"), "'engine.so' is not an absolute path"),
        (lambda: NativePart("/none.so", "/x"), "FileNotFoundError: [Errno 2] No such file or directory: '/none.so'"),
        (lambda: NativePart("/", "/x"), "'/' is not a regular file"),
        (lambda: NativePart("/x", "/x", settings=3), "TypeError: native: settings 3 are not a text"),
        (lambda: NativePart(None, "/x"), "TypeError: "),
        (raising(RuntimeError("made for another version")), "RuntimeError: made for another version"),
        (raising(SystemExit(3)), "SystemExit: 3"),
    ],
)
def test_whatever_is_wrong_with_it_is_a_reason(answer, reason):
    made = backend(answer)
    assert made.native is None
    assert made.native_problem.startswith(reason)


def test_one_that_does_not_answer_has_none(monkeypatch):
    monkeypatch.setattr(registry, "DETECT_SECONDS", 0.05)
    made = backend(lambda: time.sleep(5))
    assert made.native is None
    assert made.native_problem == "TooSlow: no answer in 0.05 s"


@pytest.mark.parametrize("name", ["library", "engine"])
@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_files_that_others_can_write_are_not_loaded(tmp_path, name, mode):
    found = part(tmp_path)
    (tmp_path / name).chmod(mode)
    made = backend(lambda: found)
    assert made.native is None
    assert made.native_problem == f"'{tmp_path / name}' belongs to another user or can be written by others"


@pytest.mark.root
def test_files_of_other_users_are_not_loaded(tmp_path):
    found = part(tmp_path)
    os.chown(found.engine, 65534, 65534)
    assert backend(lambda: found).native is None
