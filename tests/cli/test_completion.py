"""`pelagos completion`, in a real bash."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pelagos_core.daemon import runs
from tests.support.runs import pelagos

SCRIPT = """
eval "$(pelagos completion bash)"
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
compopt() { echo "the shell's own: $1 $2"; }
_pelagos_completion pelagos
printf '%s\\n' "${COMPREPLY[@]}"
"""


def completed(*words):
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["bash", "-c", SCRIPT, "bash", "pelagos", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split("\n")[:-1]


def test_commands_and_options_are_completed():
    assert completed("ru") == ["run"]
    assert completed("run", "--read") == ["--read-only"]
    assert "--annotation" in completed("run", "--")


def test_files_are_left_to_the_shell():
    for words in (("run", "ex"), ("run", "x.wasm", "da"), ("run", "--env-file", "x"), ("cache", "warm", "x")):
        assert completed(*words)[0] == "the shell's own: -o default", words


def test_signals_and_words_of_a_choice_are_completed():
    assert completed("kill", "-s", "WIN") == ["WINCH"]
    assert completed("stop", "--signal", "sigus") == ["USR1", "USR2"]
    assert completed("ps", "--format", "j") == ["json"]


def test_backends_are_those_that_are_installed():
    assert completed("run", "--backend", "wasmt") == ["wasmtime"]
    assert completed("backends", "--backend", "a") == ["auto"]


def test_containers_are_completed_by_name_and_id(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    place = next(place for place in runs.places(os.geteuid()) if place.startswith(str(tmp_path)))
    os.mkdir(place, 0o700)
    run = runs.new(("x.wasm",), name="zebra-of-the-tests", is_detached=True, is_removed=False)
    directory, alive = runs.make(place, run)
    assert completed("exec", "zebra") == ["zebra-of-the-tests"]
    assert completed("logs", run.id) == [run.id]
    runs.end(directory, 1.0, 0)
    os.close(alive)
    assert completed("exec", "zebra") == [""]
    assert completed("rm", "zebra") == ["zebra-of-the-tests"]
    assert completed("inspect", "zebra") == ["the shell's own: -o default", "zebra-of-the-tests"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_there_is_a_script_for_other_shells(shell):
    done = pelagos("completion", shell)
    assert done.returncode == 0
    assert f"_PELAGOS_COMPLETE={shell}_complete" in done.stdout


def test_the_shell_is_that_of_the_user(monkeypatch):
    monkeypatch.setenv("SHELL", "/usr/bin/zsh")
    assert "#compdef pelagos" in pelagos("completion").stdout
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    done = pelagos("completion")
    assert (done.returncode, done.stdout) == (2, "")
    assert "name a shell: bash, zsh, fish" in done.stderr
