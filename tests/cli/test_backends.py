"""`pelagos backends`, for a person and for a machine."""

import json
import subprocess
import sys

import pytest
import wasmtime

from pelagos_core.conformance import modules
from pelagos_core.conformance.environment import environment_with


def pelagos(*words, python=sys.executable):
    return subprocess.run([python, "-m", "pelagos_core", "backends", *map(str, words)], capture_output=True, text=True)


def test_what_is_installed_is_listed():
    done = pelagos()
    assert done.returncode == 0
    assert done.stdout.splitlines()[0].split() == ["NAME", "PACKAGE", "ENGINE", "FORM", "RUNS", "LIMITS"]
    assert "wasmtime" in done.stdout
    (row,) = [row for row in json.loads(pelagos("--json").stdout)["backends"] if row["name"] == "wasmtime"]
    assert row["summary"].startswith("Wasmtime")
    assert (row["engine"], row["form"], row["usable"], row["limits"]) == (
        "Wasmtime",
        "embedded",
        True,
        ["fuel", "live-memory", "memory", "request"],
    )
    assert {"module", "component", "wasi-0.1", "wasi-0.2"} <= set(row["features"])
    assert (row["native"], row["native_problem"]) == (True, "")


@pytest.mark.parametrize("text", ["runtim = 'x'", "not TOML", "[cache]\nsize = 5"])
def test_a_config_that_is_broken_is_said_and_an_error(tmp_path, monkeypatch, text):
    (tmp_path / "config.toml").write_text(text)
    monkeypatch.setenv("PELAGOS_CONFIG", str(tmp_path / "config.toml"))
    done = pelagos()
    assert done.returncode == 1
    assert "wasmtime" in done.stdout
    assert done.stderr.splitlines()[-1].startswith(f"pelagos: backends: config '{tmp_path}/config.toml': ")


def test_a_choice_is_explained(tmp_path):
    (tmp_path / "x.wasm").write_bytes(modules.binary(modules.COMPONENT))
    done = pelagos("--explain", tmp_path / "x.wasm")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == f"{tmp_path / 'x.wasm'}: component"
    assert done.stdout.splitlines()[-1] == "chosen: wasmtime (component, WASI 0.2; best of wasmtime)"
    said = json.loads(pelagos("--explain", tmp_path / "x.wasm", "--json").stdout)
    assert (said["kind"], said["backend"]) == ("component", "wasmtime")
    assert said["answers"]["wasmtime"] == {"score": 95, "reason": "component, WASI 0.2", "kept": True}


def test_what_nothing_can_run_is_explained_too(tmp_path):
    (tmp_path / "x").write_bytes(b"MZ")
    done = pelagos("--explain", tmp_path / "x")
    assert done.returncode == 1
    assert "a file of unknown kind is not WebAssembly" in done.stdout
    assert done.stdout.splitlines()[-1] == "chosen: none (no installed backend can run it)"


def test_a_native_program_is_not_for_engines(tmp_path):
    (tmp_path / "x").write_bytes(b"\x7fELF")
    assert pelagos("--explain", tmp_path / "x").stdout.splitlines()[-1] == "chosen: native (native program)"


def test_a_missing_module_is_named(tmp_path):
    done = pelagos("--explain", tmp_path / "none")
    assert (done.returncode, done.stderr) == (1, f"pelagos: backends: module '{tmp_path / 'none'}' does not exist\n")


def test_a_broken_backend_is_reported_and_does_not_hide_the_others(tmp_path):
    python = environment_with(tmp_path / "venv", broken="raise ImportError('no engine')")
    done = pelagos(python=python)
    assert "wasmtime" in done.stdout
    assert "pelagos: backends: backend 'broken' failed in import: ImportError: no engine\n" in done.stderr
    failures = json.loads(pelagos("--json", python=python).stdout)["failures"]
    assert failures == [{"name": "broken", "stage": "import", "reason": "ImportError: no engine"}]


def test_the_imports_of_a_module_are_listed(tmp_path):
    text = '(module (import "wasi_snapshot_preview1" "sched_yield" (func (result i32))) (func (export "_start")))'
    (tmp_path / "x.wasm").write_bytes(wasmtime.wat2wasm(text))
    done = pelagos("--explain", tmp_path / "x.wasm")
    assert done.stdout.splitlines()[1:3] == ["imports from wasi_snapshot_preview1:", "    sched_yield"]
    said = json.loads(pelagos("--explain", tmp_path / "x.wasm", "--json").stdout)
    assert said["imports"] == {"wasi_snapshot_preview1": ["sched_yield"]}


def test_a_backend_that_is_asked_for_and_a_limit_are_explained(tmp_path):
    (tmp_path / "x.wat").write_text('(func (export "_start"))')
    done = pelagos("--explain", tmp_path / "x.wat", "--backend", "none-such")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "chosen: none (no installed backend can run it)")
    assert pelagos("--explain", tmp_path / "x.wat", "--fuel", "5").returncode == 0
    assert "not a whole number" in pelagos("--explain", tmp_path / "x.wat", "--fuel", "x").stderr
    assert pelagos("--fuel", "5").returncode == 2


def test_a_backend_whose_engine_is_not_there_says_how_to_get_it(tmp_path):
    lame = (
        "from pelagos_core.plugin.hookspecs import Description, hookimpl\n"
        "@hookimpl\ndef pelagos_spawn(): pass\n"
        "@hookimpl\ndef pelagos_describe(): return Description('E', problem='no engine', remedy='get one')\n"
    )
    python = environment_with(tmp_path / "venv", lame=lame)
    done = pelagos(python=python)
    assert "pelagos: backends: backend 'lame' cannot be used: no engine: get one\n" in done.stderr
    (row,) = [row for row in json.loads(pelagos("--json", python=python).stdout)["backends"] if row["name"] == "lame"]
    assert (row["usable"], row["problem"], row["remedy"]) == (False, "no engine", "get one")


def test_a_native_part_that_cannot_be_used_is_reported_with_the_reason(tmp_path):
    lame = (
        "from pelagos_core.plugin.hookspecs import hookimpl\n"
        "@hookimpl\ndef pelagos_spawn(): pass\n"
        "@hookimpl\ndef pelagos_native(): raise RuntimeError('made for another version')\n"
    )
    python = environment_with(tmp_path / "venv", lame=lame)
    done = pelagos(python=python)
    reason = "RuntimeError: made for another version"
    assert f"pelagos: backends: backend 'lame' has no native part here, and is slower: {reason}\n" in done.stderr
    (row,) = [row for row in json.loads(pelagos("--json", python=python).stdout)["backends"] if row["name"] == "lame"]
    assert (row["native"], row["native_problem"]) == (False, reason)


@pytest.mark.parametrize("crash", ["import os; os._exit(3)", "import ctypes; ctypes.string_at(0)"])
def test_a_backend_that_crashes_at_its_import_is_named_and_does_not_hide_the_others(tmp_path, crash):
    python = environment_with(tmp_path / "venv", crash=crash)
    done = pelagos(python=python)
    assert done.returncode == 0
    assert "wasmtime" in done.stdout
    assert "pelagos: backends: backend 'crash' failed in import: the process " in done.stderr
