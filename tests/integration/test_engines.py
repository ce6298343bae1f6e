"""Every backend of this repository, in each of its forms, against the kit that ships with the core."""

import os
import re
import subprocess
import sys

import pytest

from scripts import engines
from tests.support import provision
from tests.support.loader import environment_under

pytestmark = [pytest.mark.root, pytest.mark.guests, pytest.mark.slow, pytest.mark.timeout(1200)]

NATIVE = pytest.mark.engines


def conformance(name, config, tmp_path, python=sys.executable, words=("-k", "not faulty")):
    """Run the kit on one backend; the lines of its table.

    words: for pytest. Backends that go wrong beside the one that is tried are the core's business: once is enough.
    """
    (tmp_path / "config.toml").write_text(config)
    # What the tool chains have built for the test programs they need not build again.
    caches = {"GOCACHE": str(provision.CACHE / "go"), "ZIG_GLOBAL_CACHE_DIR": str(provision.CACHE / "zig")}
    environment = {**os.environ, **caches, "PELAGOS_CONFIG": str(tmp_path / "config.toml")}
    command = [python, "-m", "pelagos_core", "conformance", name, "--tb=short", f"--basetemp={tmp_path / 'kit'}"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    return done.stdout.partition("= backend")[2]


def test_wasmtime_passes(tmp_path):
    table = conformance("wasmtime", "", tmp_path, words=())
    assert "wasmtime: Wasmtime" in table
    assert "FAIL" not in table
    for program in ("C", "Go"):
        assert f"a program of {program} " in table
        assert not re.search(rf"a program of {program} +not run", table)


@NATIVE
def test_wasmedge_passes_as_a_program(tmp_path):
    table = conformance("wasmedge", f"{engines.config()}\n", tmp_path)
    assert "WasmEdge 0.14.1 program" in table


@NATIVE
def test_wasmedge_passes_when_it_compiles_ahead_of_time(tmp_path):
    config = f"{engines.config()}\n".replace("[backends.wasmedge]\n", "[backends.wasmedge]\ncompile = true\n")
    words = ("-k", "not faulty and not another_language")  # of Go's library it makes code for minutes
    assert "compiled code is kept" in conformance("wasmedge", config, tmp_path, words=words)


@NATIVE
def test_wasmedge_passes_embedded(tmp_path):
    root = engines.DIRECTORY / "wasmedge"
    library = next(root.glob("usr/lib/*/libwasmedge.so.0"))
    python = environment_under(root, tmp_path / "venv")
    config = f'[backends.wasmedge]\nform = "embedded"\nlibrary = "{library}"\n'
    assert "WasmEdge 0.14.1 embedded" in conformance("wasmedge", config, tmp_path, python)


@NATIVE
def test_wasmer_passes_as_a_program(tmp_path):
    config = f'{engines.config()}form = "program"\n'
    # It has a root of its own, in memory, with /etc, /tmp and /dev: the kit takes them for a way out.
    words = ("-k", "not faulty and not ways_out")
    assert "Wasmer 7.4.2 program" in conformance("wasmer", config, tmp_path, words=words)


@pytest.mark.skipif(sys.version_info >= (3, 11), reason="wasmer's Python package is for CPython 3.10")
def test_wasmer_passes_embedded(tmp_path):
    config = '[backends.wasmer]\nform = "embedded"\n'
    # It reports success for calls that it has not done where a path leads out, and its guests fail with some libraries.
    words = ("-k", "not faulty and not ways_out and not tool_chains")
    assert "Wasmer 1.1.0 embedded" in conformance("wasmer", config, tmp_path, words=words)


def test_a_kit_without_a_backend_says_so(tmp_path):
    words = [sys.executable, "-m", "pelagos_core", "conformance", "none-such"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode != 0
    assert "backend 'none-such' is not installed" in done.stdout + done.stderr
