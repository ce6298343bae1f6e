"""`pelagos compare`: what is the same on all engines, what differs, and what cannot be compared."""

import json
import os
import subprocess
import sys

import pytest

from pelagos_core.cli import comparison
from pelagos_core.cli.comparison import Comparison, Outcome, Run
from pelagos_core.conformance import modules
from scripts import engines

PELAGOS = [sys.executable, "-m", "pelagos_core"]


def outcome(name, *runs):
    return Outcome(name, tuple(Run(code, seconds, out, err) for code, seconds, out, err in runs))


SAME = outcome("a", (0, 1.0, b"x", b""), (0, 0.5, b"x", b""), (0, 0.3, b"x", b""))


def test_outcomes_that_are_the_same_agree():
    found = Comparison([SAME, Outcome("b", problem="no"), outcome("c", (0, 9.0, b"x", b""))])
    assert ([each.backend for each in found.able], found.differing(), found.agrees()) == (["a", "c"], {}, True)
    assert (SAME.median, SAME.is_steady) == (0.4, True)


@pytest.mark.parametrize(
    ("run", "what", "agrees"),
    [
        ((1, 1.0, b"x", b""), ["exit code"], False),
        ((0, 1.0, b"y", b""), ["stdout"], False),
        ((0, 1.0, b"x", b"a warning"), ["stderr"], True),
        ((134, 1.0, b"x", b"an engine's own words"), ["exit code"], False),
        ((None, 60.0, b"x", b""), ["exit code"], False),
    ],
)
def test_what_differs_is_named(run, what, agrees):
    found = Comparison([SAME, outcome("b", run)])
    assert (found.differing(), found.agrees()) == ({"b": what}, agrees)


def test_engines_have_words_of_their_own_for_a_trap():
    found = Comparison([outcome("a", (134, 1.0, b"", b"this")), outcome("b", (134, 1.0, b"", b"that"))])
    assert (found.differing(), found.agrees()) == ({}, True)


def test_nothing_that_runs_is_no_agreement():
    assert not Comparison([Outcome("a", problem="no")]).agrees()


def test_a_program_that_differs_from_run_to_run_is_not_steady():
    assert not outcome("a", (0, 1.0, b"1", b""), (0, 1.0, b"2", b"")).is_steady


def test_lines_that_differ_are_shown_up_to_a_number():
    lines = list(comparison.changed_lines("a", b"1\n" * 50, "b", b"2\n" * 50, 10))
    assert lines[:2] == ["--- a", "+++ b"]
    assert (len(lines), lines[-1]) == (11, "… 93 more lines")


@pytest.mark.parametrize(
    ("stderr", "why"),
    [
        ("pelagos: run: container 'run-1': '/m' has no f [PLG-MODULE]\n", "'/m' has no f [PLG-MODULE]"),
        ("pelagos: run: container 'run-1': entry point '/m' (core module): backend 'a', asked for by --backend, "
         "cannot run it: it is too old (installed: a, b; b could) [PLG-ENGINE-UNFIT]\n",
         "it is too old [PLG-ENGINE-UNFIT]"),
        ("pelagos: run: module 'm' is a pipe, not a regular file [PLG-ENTRYPOINT]\n",
         "module 'm' is a pipe, not a regular file [PLG-ENTRYPOINT]"),
        ("pelagos: run: this host lets no user make a user namespace (Operation not permitted): run it as root\n",
         "this host lets no user make a user namespace (Operation not permitted): run it as root"),
    ],
)  # fmt: skip
def test_the_reason_of_an_error_is_the_backends_own(stderr, why):
    said = comparison._REASON.search(stderr)
    assert said["why"] + said["name"] == why


def compare(directory, source, *words, options=()):
    path = directory / "app.wasm"
    path.write_bytes(modules.binary(source))
    (directory / "config.toml").write_text(engines.config())
    command = [*PELAGOS, "compare", *options, str(path), *words]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": "/usr/bin:/bin", "PELAGOS_CONFIG": str(directory / "config.toml")},
    )


@pytest.mark.container
@pytest.mark.engines
def test_engines_agree_on_a_program(tmp_path):
    done = compare(tmp_path, modules.says("hello"), options=["--json", "--runs", "1"])
    said = json.loads(done.stdout)
    assert (done.returncode, said["agree"]) == (0, True), done.stderr
    ran = {each["name"]: (each["exit_code"], each["stdout"], each["steady"]) for each in said["backends"]}
    assert ran == dict.fromkeys(("wasmedge", "wasmer", "wasmtime"), (0, "hello", True))
    assert all(len(each["later_seconds"]) == 1 and each["first_seconds"] > 0 for each in said["backends"])


@pytest.mark.container
@pytest.mark.engines
def test_a_difference_of_engines_is_shown(tmp_path):
    # WasmEdge's program knows no other argv[0] than the file's name.
    done = compare(tmp_path, modules.ARGUMENTS, options=["--runs", "0"])
    assert done.returncode == 1
    assert "+++ wasmtime: stdout" in done.stdout
    assert done.stdout.endswith("\nthey differ from wasmedge: wasmer in stdout; wasmtime in stdout\n")


@pytest.mark.container
def test_a_program_without_an_end_is_ended(tmp_path):
    done = compare(tmp_path, modules.SPINS, options=["--backend", "wasmtime", "--timeout", "3"])
    assert "no end" in done.stdout
    assert "only wasmtime has run it" in done.stdout


@pytest.mark.container
def test_what_no_engine_runs_is_reported_by_each(tmp_path):
    done = compare(tmp_path, modules.UNKNOWN_IMPORT, options=["--backend", "wasmtime", "--backend", "none"])
    assert done.returncode == 1
    assert "unknown import: nobody::has_this" in done.stdout
    assert "backend 'none', asked for by --backend, is not installed" in done.stdout
    assert done.stdout.endswith("no backend can run it\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-d", "x.wasm"], "--detach of `pelagos run` does not go with a comparison"),
        (["--watch", "x.wasm"], "--watch of `pelagos run` does not go with a comparison"),
        (["--wrong", "x.wasm"], "no such option '--wrong'"),
        (["none.wasm"], "module 'none.wasm' does not exist"),
        ([], "missing argument"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(tmp_path, words, message):
    done = subprocess.run([*PELAGOS, "compare", *words], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode in (1, 2), message in done.stderr) == (True, True), done.stderr
