"""Runs a real containerd in a private directory, and `ctr`."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.support import provision

# The node resource interface is disabled: it would listen on one fixed path of the machine.
CONFIG = """\
version = 2
root = "{0}/root"
state = "{0}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{0}/containerd.sock"
[ttrpc]
  address = "{0}/containerd.sock.ttrpc"
[debug]
  level = "debug"
"""


class Containerd:
    """A containerd; after a restart or an upgrade, the next one uses the same directory.

    It searches shims in `bin_dir`. Sockets, state and FIFOs are below `directory`; files of the
    machine are not changed.
    """

    def __init__(
        self, bin_dir: Path, environment: dict[str, str] | None = None, release: str = "bookworm", cri: str = ""
    ) -> None:
        """Arguments: release: one of provision.RELEASES. cri: the config of the CRI; empty to disable it."""
        # A short path, because containerd creates sockets below it.
        self.directory = Path(tempfile.mkdtemp(prefix="ctd-"))
        self.sockets = self.directory / "s"
        self._bin_dir = bin_dir
        self._environment = {"PELAGOS_SOCKET_DIR": str(self.sockets), **(environment or {})}
        config = CONFIG.replace('"io.containerd.grpc.v1.cri", ', "") + cri if cri else CONFIG
        (self.directory / "config.toml").write_text(config.format(self.directory))
        self._log = (self.directory / "log").open("wb")
        self.start(release)

    def start(self, release: str) -> None:
        """Start the daemon of a release, with the state of the previous one."""
        self.release = release
        self.bin = provision.containerd_directory(release) / "usr/bin"
        path = os.pathsep.join(map(str, (self._bin_dir, self.bin, self.bin.parent / "sbin", os.environ["PATH"])))
        self.process = subprocess.Popen(
            [self.bin / "containerd", "--config", self.directory / "config.toml"],
            env={**os.environ, "PATH": path, **self._environment},
            stdout=self._log,
            stderr=self._log,
        )
        until(lambda: not self.ctr("version").returncode or self._ended(), 30, self.log)
        assert not self._ended(), f"containerd did not start:\n{self.log()}"

    def stop(self, signum: int = signal.SIGTERM) -> None:
        """End the daemon; shims and containers keep running."""
        self.process.send_signal(signum)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def restart(self, signum: int = signal.SIGTERM, release: str = "") -> None:
        """End the daemon by a signal and start one again, of another release if one is named."""
        self.stop(signum)
        self.start(release or self.release)

    def command(self, *words: str) -> list[str]:
        """The command line of `ctr` with these words."""
        # Newer ones warn of a host's cgroup v1 on stderr, each time.
        quiet = ("/usr/bin/env", "CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS=1")
        return [*quiet, str(self.bin / "ctr"), "--address", str(self.directory / "containerd.sock"), *words]

    def ctr(self, *words: str, check: bool = False, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run `ctr` with these words."""
        done = subprocess.run(self.command(*words), capture_output=True, text=True, timeout=timeout)
        assert not check or done.returncode == 0, f"ctr {' '.join(words)}: {done.stderr}"
        return done

    def run(self, runtime: str, rootfs: Path, container: str, *args: str, flags: tuple[str, ...] = ("--rm",)):
        """`ctr run` a container on a rootfs directory."""
        return self.ctr(*self._run_words(runtime, rootfs, container, *args, flags=flags))

    def popen(self, runtime: str, rootfs: Path, container: str, *args: str, flags: tuple[str, ...] = ()):
        """Start a `ctr run` in the background, with pipes as its streams."""
        words = self.command(*self._run_words(runtime, rootfs, container, *args, flags=flags))
        return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def tasks(self) -> dict[str, tuple[int, str]]:
        """The tasks that `ctr task ls` lists: id -> (pid, status)."""
        lines = self.ctr("task", "ls", check=True).stdout.splitlines()[1:]
        return {line.split()[0]: (int(line.split()[1]), line.split()[2]) for line in lines}

    def status(self, container: str) -> str:
        """The status of a container's task; empty if it has none."""
        return self.tasks().get(container, (0, ""))[1]

    def remove(self, *containers: str) -> None:
        """Kill and remove containers and their tasks."""
        for container in containers:
            self.ctr("task", "rm", "-f", container)
            self.ctr("container", "rm", container, check=True)

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def close(self) -> None:
        """End every task and the daemon, and remove the directory."""
        try:
            for namespace in self.ctr("namespace", "ls", "-q").stdout.split():
                self._remove_all_of(namespace)
        finally:
            self.stop()
            self._log.close()
            for pid, _ in shims(self.directory):  # a failed test may leave them
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for path in mounts(self.directory):
                subprocess.run(["umount", "-l", path], check=False)
            shutil.rmtree(self.directory, ignore_errors=True)

    def _remove_all_of(self, namespace: str) -> None:
        words = ("-n", namespace)
        for container in self.ctr(*words, "container", "ls", "-q").stdout.split():
            self.ctr(*words, "task", "kill", "-s", "SIGKILL", container)
            self.ctr(*words, "task", "rm", "-f", container)
            self.ctr(*words, "container", "rm", container)

    def _run_words(self, runtime: str, rootfs: Path, container: str, *args: str, flags: tuple[str, ...]) -> list[str]:
        fifos = ("--fifo-dir", str(self.directory / "fifo"))
        return ["run", *fifos, *flags, "--runtime", runtime, "--rootfs", str(rootfs), container, *args]

    def _ended(self) -> bool:
        return self.process.poll() is not None


def shims(place: Path) -> list[tuple[int, str]]:
    """The shims of the containerd in a directory, and their helper processes: its address is in their command lines."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:
            continue
        if f"{place}/containerd.sock" in words and "-id" in words:
            found.append((int(pid), " ".join(words)))
    return found


def mounts(place: Path) -> list[str]:
    """The mount points below a directory."""
    with open("/proc/self/mountinfo") as file:
        return [path for path in (line.split()[4] for line in file) if path.startswith(f"{place}/")]


def install(bin_dir: Path) -> Path:
    """Put the shim's launchers into a directory, as `pelagos install` does."""
    subprocess.run(
        [sys.executable, "-m", "pelagos_core", "install", "--no-containerd", "--bin-dir", bin_dir], check=True
    )
    return bin_dir


def until(condition: Callable[[], object], seconds: float = 10, why: Callable[[], str] = lambda: "") -> None:
    """Wait until a condition is true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen in {seconds:g} s\n{why()}"
        time.sleep(0.02)
