"""A machine of namespaces: processes, mounts, network, names and a disk of its own, on this machine's kernel.

What runs in it finds the paths of every node (/etc, /run, /var/lib, /opt, /usr/local) and writes to
none of the host's. All of its processes end with its first; the kernel then removes its mounts, network devices and
sysctls of the network. Its control groups are below one directory of every hierarchy.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

from tests.support.containerd import until

NAMESPACES = ("--mount", "--net", "--uts", "--ipc", "--pid")
_CGROUPS = Path("/sys/fs/cgroup")
_BOOT_SECONDS = 30


class Machine:
    """One machine: `boot` and `shutdown` may follow each other, its disk stays until `destroy`."""

    def __init__(self, directory: Path, path: list[Path]) -> None:
        """directory: of its disk, made if it is not there. path: what its programs find before the host's."""
        self.directory = directory
        self.disk = directory / "disk"
        self.disk.mkdir(parents=True, exist_ok=True)
        self._state = directory / "machine.json"
        if not self._state.exists():
            self._write({"cgroup": f"node-{uuid.uuid4().hex[:8]}", "init": None})
        words = ["/usr/local/sbin", "/usr/local/bin", *map(str, path), "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        self._started_here: list[subprocess.Popen[bytes]] = []
        self.environment = {"PATH": ":".join(words), "HOME": "/root", "TERM": os.environ.get("TERM", "dumb")}

    @property
    def cgroup(self) -> str:
        """The name of the directory of its control groups, in every hierarchy."""
        return self._read()["cgroup"]

    @property
    def init(self) -> int:
        """The pid of its first process, as this host sees it; 0 if it does not run."""
        found = self._read()["init"]
        return found["pid"] if found and _started(found["pid"]) == found["started"] else 0

    def boot(self) -> None:
        """Start its first process, in new namespaces, and wait until its mounts and devices are there."""
        assert not self.init, f"the machine in {self.directory} runs"
        self._make_cgroups()
        ready = self.directory / "ready"
        ready.unlink(missing_ok=True)
        log = (self.directory / "init.log").open("ab")
        program = [sys.executable, "-m", "tests.kubernetes.machine_init", str(self.directory)]
        with log:
            outer = subprocess.Popen(
                ["unshare", *NAMESPACES, "--fork", "--kill-child", *program],
                env={**self.environment, "PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a ^C at the terminal is not for it
            )
        until(
            lambda: ready.exists() or outer.poll() is not None,
            _BOOT_SECONDS,
            lambda: (self.directory / "init.log").read_text(),
        )
        assert outer.poll() is None, (self.directory / "init.log").read_text()
        (child,) = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
        self._write({**self._read(), "init": {"pid": int(child), "started": _started(int(child))}})
        self._started_here.append(outer)

    def command(self, *words: str, net_only: bool = False) -> list[str]:
        """A command line that runs these words in the machine, with its environment alone.

        net_only: a client such as kubectl: in its network and mounts, but a process of the host, in its directory.
        """
        namespaces = NAMESPACES[:2] if net_only else NAMESPACES
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        directory = Path.cwd() if net_only else "/"
        enter = ["/usr/bin/nsenter", "--target", str(self.init), *namespaces, f"--wd={directory}"]
        return [*enter, "env", "-i", *variables, *words]

    def run(
        self, *words: str, check: bool = True, typed: str | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine."""
        done = subprocess.run(self.command(*words), input=typed, capture_output=True, text=True, timeout=timeout)
        assert not check or done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
        return done

    def start(self, name: str, *words: str) -> Service:
        """Start a service, whose output is in /var/log/NAME.log."""
        place = self.disk / "var/log"
        place.mkdir(parents=True, exist_ok=True)
        with (place / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                self.command(*words), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._started_here.append(process)
        return Service(name, process, place / f"{name}.log")

    def write(self, path: str, text: str | bytes, mode: int = 0o644) -> None:
        """Write a file of the machine, with its directories."""
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text.encode() if isinstance(text, str) else text)
        place.chmod(mode)

    @property
    def root(self) -> Path:
        """The machine's `/`, as this host can open it. A link with an absolute path leads astray."""
        return Path(f"/proc/{self.init}/root")

    def shutdown(self) -> None:
        """End all of its processes at once, as a loss of power does. Its disk stays."""
        if init := self.init:
            pidfd = os.pidfd_open(init)
            try:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                until(lambda: not _started(init) or _is_zombie(init), 30)
            finally:
                os.close(pidfd)
        while self._started_here:
            self._started_here.pop().wait(30)
        self._remove_cgroups()

    def destroy(self) -> None:
        """Shut it down and remove its disk: nothing is left."""
        self.shutdown()
        shutil.rmtree(self.directory)

    def traces(self) -> list[str]:
        """What is left of it on the host, besides its directory: nothing when it is shut down."""
        found = [f"process {self.init}"] if self.init else []
        found += [f"cgroup {path}" for path in self._cgroups() if path.exists()]
        with open("/proc/self/mountinfo") as file:
            return found + [f"mount {line}" for line in file if f"{self.directory}/" in line]

    def _cgroups(self) -> list[Path]:
        """Its directory in each hierarchy."""
        if (_CGROUPS / "cgroup.controllers").exists():
            return [_CGROUPS / self.cgroup]
        return [path / self.cgroup for path in sorted(_CGROUPS.iterdir()) if path.is_dir() and not path.is_symlink()]

    def _make_cgroups(self) -> None:
        for path in self._cgroups():
            path.mkdir(exist_ok=True)
            for name in ("cpuset.mems", "cpuset.cpus"):  # empty in a new group of cgroup v1
                if (path.parent / name).exists():
                    (path / name).write_text((path.parent / name).read_text())

    def _remove_cgroups(self) -> None:
        for path in self._cgroups():
            for directory, _, _ in os.walk(path, topdown=False):
                # A process that was just killed may still be listed.
                until(lambda directory=directory: _is_removed(directory), 20, lambda path=directory: f"{path} stays")

    def _read(self) -> dict:
        return json.loads(self._state.read_text())

    def _write(self, state: dict) -> None:
        self._state.write_text(json.dumps(state))


class Service:
    """One program of the machine, started from outside: `nsenter`, whose child it is."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process

    @property
    def pid(self) -> int:
        """Its pid, as this host sees it; 0 if it has ended."""
        with contextlib.suppress(OSError, ValueError):
            (child,) = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
            return int(child)
        return 0

    def ended(self) -> bool:
        return self._process.poll() is not None

    def stop(self, signum: int = signal.SIGTERM) -> None:
        """End it by a signal, and see to it that it has ended."""
        if pid := self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.kill(self.pid, signal.SIGKILL)
            self._process.wait()

    def tail(self, lines: int = 40) -> str:
        """The end of what it has said."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


@contextlib.contextmanager
def machine(directory: Path, path: list[Path]) -> Iterator[Machine]:
    """A machine that is destroyed at the end."""
    found = Machine(directory, path)
    try:
        yield found
    finally:
        found.destroy()


def _started(pid: int) -> int:
    """When a process has started, in ticks after the boot: with its pid it is unique; 0 if there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError):
        return 0


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def _is_removed(path: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        try:
            os.rmdir(path)
        except OSError:
            return False
    return True
