"""Wasmtime's program runs what its library does not, in a container as any other."""

import json
import os
import subprocess
import sys

import pytest

from scripts import engines
from tests.support import extensions
from tests.support.absent import ABSENT
from tests.support.forms import Form

pytestmark = [pytest.mark.root, pytest.mark.engines]
GUESTS = [(extensions.SHARED_MEMORY, 5), (extensions.UNSTABLE, 5), (extensions.COMMAND_0_3, 0)]
WITHOUT = f'[backends.wasmtime]\nprogram = "{ABSENT}/wasmtime"\n'


@pytest.fixture
def wasmtime():
    return Form("wasmtime", config=engines.config())


def written(tmp_path, text):
    (tmp_path / "app.wat").write_text(text)
    return str(tmp_path / "app.wat")


@pytest.mark.parametrize(("text", "code"), GUESTS, ids=["shared-memory", "wasi-unstable", "wasi-0.3"])
def test_it_runs_with_its_exit_code(tmp_path, wasmtime, text, code):
    done = wasmtime.run(tmp_path, written(tmp_path, text))
    assert done.returncode == code, done.stderr
    assert done.stdout == ("old\n" if text is extensions.UNSTABLE else "")


def test_a_trap_is_one(tmp_path, wasmtime):
    done = wasmtime.run(tmp_path, written(tmp_path, extensions.TRAP))
    assert done.returncode == 134
    assert "unreachable" in done.stderr
    assert "PLG-TRAP" in done.stderr


def test_fuel_ends_it(tmp_path, wasmtime):
    endless = extensions.SHARED_MEMORY.replace("(drop", "(loop (br 0)) (drop", 1)
    done = wasmtime.run(tmp_path, "--annotation", "io.pelagos.wasm.fuel=100000", written(tmp_path, endless))
    assert done.returncode == 134
    assert "fuel" in done.stderr


@pytest.mark.parametrize(("text", "code"), GUESTS, ids=["shared-memory", "wasi-unstable", "wasi-0.3"])
def test_without_it_the_refusal_says_how_to_get_it(tmp_path, text, code):
    form = Form("wasmtime", config=WITHOUT)
    done = form.run(tmp_path, written(tmp_path, text))
    assert done.returncode == 126
    assert f"needs Wasmtime's program: program '{ABSENT}/wasmtime' does not exist" in done.stderr
    assert "cargo install wasmtime-cli" in done.stderr


def test_the_commands_show_it(tmp_path, wasmtime):
    said = json.loads(wasmtime.pelagos(tmp_path, "backends", "--json").stdout)["backends"]
    told = next(each for each in said if each["name"] == "wasmtime")
    assert told["program"]
    assert {"shared-memory", "sockets", "wasi-unstable", "wasi-0.3"} <= set(told["features"])
    explained = wasmtime.pelagos(tmp_path, "backends", "--explain", written(tmp_path, extensions.UNSTABLE)).stdout
    assert "chosen: wasmtime (WebAssembly text, wasi-unstable, " in explained
    (tmp_path / "absent.toml").write_text(WITHOUT)
    words = [sys.executable, "-m", "pelagos_core", "backends"]
    environment = {**os.environ, "PELAGOS_CONFIG": str(tmp_path / "absent.toml")}
    shown = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert "lacks http, shared-memory, sockets, wasi-0.3, wasi-unstable" in shown.stderr
