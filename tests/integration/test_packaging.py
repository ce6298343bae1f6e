"""What is published works where nothing of the checkout is in reach."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow]

ROOT = Path(__file__).parent.parent.parent
DISTRIBUTIONS = (ROOT, ROOT / "plugins/wasmtime_backend")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A plain environment with the wheels of both distributions; its bin directory."""
    directory = tmp_path_factory.mktemp("wheels")
    for distribution in DISTRIBUTIONS:
        source = shutil.copytree(distribution, directory / distribution.name, ignore=_not_sources)
        _run(sys.executable, "-m", "build", "--wheel", "--outdir", directory / "dist", source)
    _run(sys.executable, "-m", "venv", directory / "venv")
    _run(directory / "venv/bin/pip", "install", "-q", *(directory / "dist").glob("*.whl"))
    return directory / "venv/bin"


def test_the_wheels_hold_the_code_and_nothing_else(installed):
    site = next((installed.parent / "lib").glob("python*")) / "site-packages"
    assert (site / "pelagos_core/py.typed").exists()
    assert not (site / "tests").exists()
    assert not (site / "protos").exists()


def test_the_backend_is_found_by_its_entry_point(installed, tmp_path):
    said = json.loads(_run(installed / "pelagos", "backends", "--json", cwd=tmp_path))
    assert [backend["name"] for backend in said["backends"]] == ["wasmtime"]
    assert said["failures"] == []


@pytest.mark.root
def test_a_container_runs_outside_the_checkout(installed, tmp_path):
    shutil.copy(ROOT / "examples/hello.wat", tmp_path)
    assert _run(installed / "pelagos", "run", "hello.wat", cwd=tmp_path) == "hello\n"


def test_the_launchers_are_of_that_environment(installed, tmp_path):
    _run(installed / "pelagos", "install", "--bin-dir", tmp_path, cwd=tmp_path)
    launcher = tmp_path / "containerd-shim-wasm-v1"
    assert str(ROOT) not in launcher.read_text()
    assert "Version:" in _run(launcher, "-v", cwd=tmp_path)
    assert b"io.pelagos.wasm.backend.wasmtime" in subprocess.run([launcher, "-info"], capture_output=True).stdout


def _not_sources(directory, names):
    if Path(directory) != ROOT:
        return [name for name in names if name == "__pycache__"]
    return [name for name in names if name not in ("pelagos_core", "pyproject.toml", "README.md", "LICENSE")]


def _run(*words, cwd=None):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(list(map(str, words)), cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
