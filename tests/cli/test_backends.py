"""`pelagos backends`, for a person and for a machine."""

import json
import subprocess
import sys

from tests.support.environment import environment_with


def pelagos(*words, python=sys.executable):
    return subprocess.run([python, "-m", "pelagos_core", "backends", *map(str, words)], capture_output=True, text=True)


def test_what_is_installed_is_listed():
    done = pelagos()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].split() == ["NAME", "VERSION", "RUNS"]
    assert "wasmtime" in done.stdout
    (row,) = [row for row in json.loads(pelagos("--json").stdout)["backends"] if row["name"] == "wasmtime"]
    assert row["summary"].startswith("Wasmtime")


def test_a_choice_is_explained(tmp_path):
    (tmp_path / "x.wasm").write_bytes(b"\0asm\x0d\0\1\0")
    done = pelagos("--explain", tmp_path / "x.wasm")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == f"{tmp_path / 'x.wasm'}: component"
    assert done.stdout.splitlines()[-1] == "chosen: wasmtime (component, WASI 0.2; best of wasmtime)"
    said = json.loads(pelagos("--explain", tmp_path / "x.wasm", "--json").stdout)
    assert (said["kind"], said["backend"]) == ("component", "wasmtime")
    assert said["answers"] == {"wasmtime": {"score": 90, "reason": "component, WASI 0.2"}}


def test_what_nothing_can_run_is_explained_too(tmp_path):
    (tmp_path / "x").write_bytes(b"\x7fELF")
    done = pelagos("--explain", tmp_path / "x")
    assert done.returncode == 1
    assert "a native program is not WebAssembly" in done.stdout
    assert done.stdout.splitlines()[-1] == "chosen: none (no installed backend can run it)"


def test_a_missing_module_is_named(tmp_path):
    done = pelagos("--explain", tmp_path / "none")
    assert (done.returncode, done.stderr) == (1, f"pelagos: module '{tmp_path / 'none'}' does not exist\n")


def test_a_broken_backend_is_reported_and_does_not_hide_the_others(tmp_path):
    python = environment_with(tmp_path / "venv", broken="raise ImportError('no engine')")
    done = pelagos(python=python)
    assert "wasmtime" in done.stdout
    assert done.stderr == "pelagos: backend 'broken' failed in import: ImportError: no engine\n"
    failures = json.loads(pelagos("--json", python=python).stdout)["failures"]
    assert failures == [{"name": "broken", "stage": "import", "reason": "ImportError: no engine"}]
