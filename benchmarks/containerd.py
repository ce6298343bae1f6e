"""Starts a real containerd with its own directory and runs `ctr`; it is configured like a node's."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from benchmarks.client import CallFailed
from tests.support import provision

_CONFIG = """\
version = 2
root = "{0}/root"
state = "{0}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{0}/containerd.sock"
[ttrpc]
  address = "{0}/containerd.sock.ttrpc"
"""
_READY_SECONDS = 30.0


class Containerd:
    """One containerd; its `with` block starts and stops it."""

    def __init__(self, directory: Path, namespace: str) -> None:
        """Arguments: namespace: containerd's; also the parent of its containers' cgroups."""
        self._directory = directory
        self._namespace = namespace
        self._bin = provision.containerd_directory() / "usr/bin"

    def __enter__(self) -> Containerd:
        self._directory.mkdir()
        config = self._directory / "config.toml"
        config.write_text(_CONFIG.format(self._directory))
        with (self._directory / "log").open("wb") as log:
            self._process = subprocess.Popen([self._bin / "containerd", "--config", config], stdout=log, stderr=log)
        deadline = time.monotonic() + _READY_SECONDS
        while self.ctr("version").returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise CallFailed(f"containerd did not start: see {self._directory}/log")
            time.sleep(0.05)
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.terminate()
        self._process.wait()

    def ctr(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """Run `ctr` with these words."""
        command = [str(self._bin / "ctr"), "--address", f"{self._directory}/containerd.sock"]
        command += ["--namespace", self._namespace]
        return subprocess.run([*command, *words], capture_output=True, check=False)


def path() -> str:
    """A PATH that contains runc and containerd's own shim."""
    unpacked = provision.containerd_directory()
    return os.pathsep.join(map(str, (unpacked / "usr/bin", unpacked / "usr/sbin", os.environ["PATH"])))
