"""`pelagos run --watch`: a session of a developer and a compiler."""

import os
import shutil
import signal
import subprocess

import pytest

from pelagos_core.cli import watch
from pelagos_core.daemon import runs
from tests.support.containerd import until
from tests.support.runs import PELAGOS, left_by_runs, pelagos, wait_until_nothing_is_left


@pytest.mark.parametrize(
    ("words", "operands", "child"),
    [
        (["--watch", "x.wasm"], 1, ["--watch", "--no-watch", "x.wasm"]),
        (["--watch", "-e", "--watch", "x", "--watch"], 2, ["--watch", "-e", "--watch", "--no-watch", "x", "--watch"]),
        (["--watch", "--", "x", "a"], 2, ["--watch", "--no-watch", "--", "x", "a"]),
    ],
)
def test_the_child_has_the_same_words_and_does_not_watch(words, operands, child):
    assert watch._words_of_child(words, operands) == child


def test_a_file_that_is_being_written_has_not_changed_yet(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_text("1")
    seen = watch._state(path)
    assert not watch._has_changed(path, seen)
    monkeypatch.setattr(watch.time, "sleep", lambda _: path.write_text("333"))
    path.write_text("22")
    assert not watch._has_changed(path, seen)
    monkeypatch.setattr(watch.time, "sleep", lambda _: None)
    assert watch._has_changed(path, seen)
    path.unlink()
    assert not watch._has_changed(path, seen)


@pytest.mark.container
@pytest.mark.guests
def test_each_build_is_run_and_the_one_before_is_ended(tmp_path, guests):
    module = tmp_path / "app.wasm"

    def build(name):
        shutil.copy(guests / name, tmp_path / "new")
        os.rename(tmp_path / "new", module)

    before = left_by_runs()
    build("exit7.wasm")
    command = [*PELAGOS, "run", "--watch", str(module)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr.readline() == "pelagos: exit code 7; waiting for app.wasm to change\n"
        build("hello.wasm")
        assert process.stderr.readline() == "pelagos: app.wasm has changed\n"
        assert process.stdout.readline() == "hello\n"
        assert process.stderr.readline() == "pelagos: exit code 0; waiting for app.wasm to change\n"
        build("spin.wasm")
        assert process.stderr.readline() == "pelagos: app.wasm has changed\n"
        until(lambda: any(run.command == (str(module),) and run.backend for run in runs.listed(os.geteuid())), 30)
        build("exit7.wasm")  # while that runs
        assert process.stderr.readline() == "pelagos: app.wasm has changed\n"
        assert process.stderr.readline() == "pelagos: exit code 7; waiting for app.wasm to change\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    wait_until_nothing_is_left(before)


@pytest.mark.parametrize("words", [["-d", "x.wasm"], ["-"]])
def test_what_cannot_be_watched_is_a_mistake(words, tmp_path):
    (tmp_path / "x.wasm").write_bytes(b"\0asm\1\0\0\0")
    done = pelagos("run", "--watch", *words, cwd=tmp_path, stdin=subprocess.DEVNULL)
    assert done.returncode in (125, 126)
    assert "--watch cannot be combined" in done.stderr or "there is none" in done.stderr
