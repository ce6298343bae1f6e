"""What is published works where nothing of the checkout is in reach."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.containerd import Containerd

pytestmark = [pytest.mark.slow]

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def installed(published, tmp_path_factory):
    """A plain environment with the wheels of what the README installs; its bin directory."""
    directory = tmp_path_factory.mktemp("installed")
    _run(sys.executable, "-m", "venv", directory / "venv")
    _run(directory / "venv/bin/pip", "install", "-q", *published.glob("*.whl"))
    return directory / "venv/bin"


def test_the_wheels_hold_the_code_and_nothing_else(installed):
    site = next((installed.parent / "lib").glob("python*")) / "site-packages"
    assert (site / "pelagos_core/py.typed").exists()
    assert not (site / "tests").exists()
    assert not (site / "protos").exists()
    assert os.access(site / "pelagos_native/bin/launcher", os.X_OK)
    assert not list((site / "pelagos_native").rglob("*.[ch]"))


def test_the_backend_is_found_by_its_entry_point(installed, tmp_path):
    said = json.loads(_run(installed / "pelagos", "backends", "--json", cwd=tmp_path))
    assert [backend["name"] for backend in said["backends"]] == ["wasmtime"]
    assert said["failures"] == []


@pytest.mark.root
def test_a_container_runs_outside_the_checkout(installed, tmp_path):
    shutil.copy(ROOT / "examples/hello.wat", tmp_path)
    assert _run(installed / "pelagos", "run", "hello.wat", cwd=tmp_path) == "hello\n"


def test_the_launchers_are_of_that_environment(installed, tmp_path):
    _run(installed / "pelagos", "install", "--no-containerd", "--bin-dir", tmp_path, cwd=tmp_path)
    launcher = tmp_path / "containerd-shim-wasm-v1"
    assert launcher.read_bytes().startswith(b"\x7fELF")
    assert str(ROOT).encode() not in launcher.read_bytes()
    assert "Version:" in _run(launcher, "-v", cwd=tmp_path)
    assert b"io.pelagos.wasm.backend.wasmtime" in subprocess.run([launcher, "-info"], capture_output=True).stdout


@pytest.fixture
def echo(tmp_path):
    """The wheel of the template for engine authors."""
    source = shutil.copytree(
        ROOT / "examples/backend", tmp_path / "echo-source", ignore=shutil.ignore_patterns("__pycache__", "bin")
    )
    _run(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path / "echo", source)
    return next((tmp_path / "echo").glob("*.whl"))


@pytest.mark.root
@pytest.mark.containerd
@pytest.mark.guests
def test_a_third_partys_wheel_adds_an_engine_to_a_running_node(installed, echo, guests, tmp_path):
    (tmp_path / "bin").mkdir()
    _run(installed / "pelagos", "install", "--no-containerd", "--bin-dir", tmp_path / "bin", cwd=tmp_path)
    rootfs = shutil.copytree(guests, tmp_path / "rootfs")
    daemon = Containerd(tmp_path / "bin")
    try:
        pod = ("--annotation", "io.kubernetes.cri.sandbox-id=pod")
        runtime = "io.containerd.pelagos.wasm.v1"
        assert daemon.run(runtime, rootfs, "spin", "/spin.wasm", flags=("-d", *pod)).returncode == 0

        def ask(name, *flags):
            flags = ("--rm", *flags, "--annotation", "io.pelagos.wasm.runtime=echo")
            return daemon.run(runtime, rootfs, name, "/exit7.wasm", "x", flags=flags)

        assert "backend 'echo'" in ask("before", *pod).stderr
        _run(installed / "pip", "install", "-q", "--no-index", "--no-deps", echo)
        for name, flags in (("same-pod", pod), ("another-pod", ())):
            done = ask(name, *flags)
            assert (done.returncode, done.stdout) == (0, "would run /exit7.wasm x (112 bytes)\n"), done.stderr
        _run(installed / "pip", "uninstall", "-q", "-y", "pelagos-echo")
        assert "(installed: wasmtime; wasmtime could)" in ask("after", *pod).stderr
        assert daemon.tasks()["spin"][1] == "RUNNING"
    finally:
        daemon.close()


def _run(*words, cwd=None):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(list(map(str, words)), cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
