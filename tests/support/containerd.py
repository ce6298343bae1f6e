"""A real containerd in a private directory, and `ctr` on it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from tests.support import provision

CONFIG = """\
version = 2
root = "{0}/root"
state = "{0}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{0}/containerd.sock"
[ttrpc]
  address = "{0}/containerd.sock.ttrpc"
[debug]
  level = "debug"
"""
SHIM_SOCKETS = Path("/run/containerd/s")


class Containerd:
    """One daemon. Its shims are found in `bin_dir`; nothing of the machine's own is touched."""

    def __init__(self, bin_dir: Path, environment: dict[str, str] | None = None) -> None:
        # Short: containerd makes sockets below it.
        self.directory = Path(tempfile.mkdtemp(prefix="ctd-", dir="/tmp"))
        unpacked = provision.containerd_directory()
        self._bin = unpacked / "usr/bin"
        (self.directory / "config.toml").write_text(CONFIG.format(self.directory))
        path = os.pathsep.join(map(str, (bin_dir, self._bin, unpacked / "usr/sbin", os.environ["PATH"])))
        self._log = (self.directory / "log").open("wb")
        self._process = subprocess.Popen(
            [self._bin / "containerd", "--config", self.directory / "config.toml"],
            env={**os.environ, "PATH": path, **(environment or {})},
            stdout=self._log,
            stderr=self._log,
        )
        self._until_ready()

    def ctr(self, *words: str, check: bool = False, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run `ctr` with these words."""
        command = [self._bin / "ctr", "--address", self.directory / "containerd.sock", *words]
        return subprocess.run(command, capture_output=True, text=True, check=check, timeout=timeout)

    def run(self, runtime: str, rootfs: Path, container: str, *args: str, flags: tuple[str, ...] = ("--rm",)):
        """`ctr run` a container on a rootfs directory."""
        return self.ctr("run", *flags, "--runtime", runtime, "--rootfs", str(rootfs), container, *args)

    def tasks(self) -> dict[str, tuple[int, str]]:
        """What `ctr task ls` lists: id -> (pid, status)."""
        lines = self.ctr("task", "ls", check=True).stdout.splitlines()[1:]
        return {line.split()[0]: (int(line.split()[1]), line.split()[2]) for line in lines}

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def close(self) -> None:
        """End every task and the daemon, and remove the directory."""
        try:
            for container in self.ctr("container", "ls", "-q").stdout.split():
                self.ctr("task", "kill", "-s", "SIGKILL", container)
                self.ctr("task", "rm", "-f", container)
                self.ctr("container", "rm", container)
        finally:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._log.close()
            shutil.rmtree(self.directory, ignore_errors=True)

    def _until_ready(self) -> None:
        deadline = time.monotonic() + 30
        while self.ctr("version").returncode:
            assert self._process.poll() is None, f"containerd did not start:\n{self.log()}"
            assert time.monotonic() < deadline, f"containerd is not ready:\n{self.log()}"
            time.sleep(0.05)
