"""The shim's program as a process: what it prints, and where."""

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile

import pytest

from pelagos_core import __version__
from pelagos_core.api.introspection_pb2 import RuntimeInfo
from pelagos_core.cli import launcher
from tests.support.shim import flags, holder, shim_command
from tests.support.zygote import of_the_tests


def test_the_version_is_text_on_stdout(tmp_path):
    done = shim_command("-v", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert __version__.encode() in done.stdout


def test_info_is_a_runtime_info_that_names_the_backends(tmp_path):
    done = shim_command("-info", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    info = RuntimeInfo.FromString(done.stdout)
    assert (info.name, info.version.version) == ("io.containerd.pelagos.wasm.v1", __version__)
    assert "io.pelagos.wasm.backend.wasmtime" in info.annotations
    features = json.loads(info.features.value)
    assert {"rro", "idmap", "tmpcopyup"} <= set(features["mountOptions"])
    # without this containerd 2 refuses a container with mapped ids
    assert features["linux"]["mountExtensions"] == {"idmap": {"enabled": True}}
    assert {"user", "time", "pid"} <= set(features["linux"]["namespaces"])
    assert "poststop" in features["hooks"]
    assert "CAP_SYS_ADMIN" in features["linux"]["capabilities"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, b"usage:"),
        (["fly"], 2, b"unknown action 'fly'"),
        (["-moon"], 1, b"flag provided but not defined: -moon"),
        (["-id", "../x", "-namespace", "n", "start"], 1, b"container id '../x'"),
        (["-id", "x", "-namespace", "a/b", "start"], 1, b"namespace 'a/b'"),
        (["-id", "x/y", "delete"], 1, b"container id 'x/y'"),
    ],
)
def test_a_mistake_is_reported_on_stderr(tmp_path, words, code, message):
    done = shim_command(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, b"")
    assert message in done.stderr


def test_help_is_on_stdout(tmp_path):
    done = shim_command("-h", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"start|delete" in done.stdout


@pytest.mark.root
def test_start_with_closed_streams_leaves_a_daemon_that_listens(tmp_path):
    command = shlex.join([sys.executable, launcher.FLAGS, "-c", launcher.body(), *flags(tmp_path, "c1"), "start"])
    with tempfile.TemporaryDirectory(prefix="pelagos-") as directory:
        env = {"PATH": os.environ["PATH"], "PELAGOS_SOCKET_DIR": directory, **of_the_tests()}
        subprocess.run(f"{command} <&- >&- 2>&-", shell=True, cwd=tmp_path, env=env, check=True, timeout=20)
        daemon = holder((tmp_path / "address").read_text().removeprefix("unix://"))
        os.kill(daemon, signal.SIGKILL)
