"""Exit codes: one table, the one in the documents, and what each error comes to."""

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from pelagos_core import reasons
from pelagos_core.cli import command_line, exit_codes
from pelagos_core.errors import InvalidArgument, NotFound

ROOT = Path(__file__).parents[2]


def test_the_table_in_the_documents_is_the_codes():
    text = (ROOT / "docs/errors.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    assert {int(code): (run, other) for code, run, other in rows} == exit_codes.MEANINGS


def test_each_code_has_a_meaning():
    codes = {value for name, value in vars(exit_codes).items() if name.isupper() and isinstance(value, int)}
    assert codes - {exit_codes.SIGNALLED} == set(exit_codes.MEANINGS)


# What is typed wrongly, or fails without a container: the code of each is in the table.
WRONG = [
    (["--fly"], 2),
    (["fly"], 2),
    (["run"], 125),
    (["run", "--fly", "x"], 125),
    (["run", "--cpus", "much", "x"], 125),
    (["run", "--fuel", "much", "/proc/none"], 125),
    (["run", "--fuel", "0", "/proc/none"], 125),
    (["run", "--deadline", "soon", "/dev/zero"], 126),
    (["run", "/proc/none"], 127),
    (["run", "/proc"], 125),
    (["run", "/dev/null"], 126),
    (["run", "/bin/true"], 126),
    (["run", "-it", "/proc/none"], 125),
    (["exec"], 125),
    (["exec", "none", "/x"], 125),
    (["ps", "--fly"], 2),
    (["ps", "more"], 2),
    (["logs"], 2),
    (["logs", "none"], 1),
    (["logs", "-n", "x", "none"], 2),
    (["stats", "none"], 1),
    (["stop"], 2),
    (["stop", "none"], 1),
    (["stop", "-t", "soon", "none"], 2),
    (["kill", "none"], 1),
    (["kill", "-s", "FLY", "none"], 2),
    (["wait", "none"], 1),
    (["rm", "none"], 1),
    (["inspect"], 2),
    (["inspect", "/proc/none"], 1),
    (["compare"], 2),
    (["compare", "/proc/none"], 1),
    (["compare", "--tty", "/proc/none"], 2),
    (["pack", "x.wasm"], 2),
    (["pack", "-t", "UPPER", "x.wasm"], 2),
    (["pack", "-t", "a", "/proc/none"], 1),
    (["backends", "--fuel", "1"], 2),
    (["backends", "--explain", "/proc/none"], 1),
    (["cache", "fly"], 2),
    (["cache", "warm"], 2),
    (["cache", "warm", "/proc/none"], 1),
    (["cache", "prune", "--older-than", "soon"], 2),
    (["install", "--bin-dir", "/proc/none", "--no-containerd"], 1),
    (["completion", "tcsh"], 2),
    (["metrics", "--listen", "--textfile", "/proc/none"], 2),
    (["conformance", "none"], 1),
    (["doctor", "--fly"], 2),
    (["version", "more"], 2),
]


@pytest.mark.parametrize(("words", "code"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_each_command_exits_by_the_table_and_says_why_in_one_line(words, code):
    command = [sys.executable, "-m", "pelagos_core", *words]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("pelagos: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("x", reasons.ENTRYPOINT), 127),
        (NotFound("x", reasons.ENGINE_MISSING), 127),
        (InvalidArgument("x", reasons.ENTRYPOINT), 126),
        (InvalidArgument("x", reasons.MODULE), 126),
        (InvalidArgument("x", reasons.ENGINE_UNFIT), 126),
        (InvalidArgument("x", reasons.SPEC), 125),
        (NotFound("x", reasons.MOUNT), 125),
        (NotFound("x"), 125),
    ],
)
def test_an_error_that_keeps_a_program_from_running_has_dockers_code(error, code):
    assert exit_codes.of_error(error) == code


@pytest.mark.parametrize(("command", "code"), [("run", 125), ("exec", 125), ("version", 1)])
def test_a_fault_of_ours_is_no_exit_code_of_a_program(command, code, monkeypatch, capsys):
    def fail(*_: object, **__: object) -> None:
        raise KeyError("step")

    monkeypatch.setattr(command_line.cli.get_command(click.Context(command_line.cli), command), "callback", fail)
    words = {"run": ["run", "x"], "exec": ["exec", "x", "y"], "version": ["version"]}[command]
    monkeypatch.setattr("sys.argv", ["pelagos", *words])
    assert command_line.execute() == code
    said = capsys.readouterr().err
    assert said.startswith("Traceback")
    assert said.splitlines()[-1].startswith(f"pelagos: {command}: KeyError: 'step': this is a fault of pelagos")
