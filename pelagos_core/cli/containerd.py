"""Finds the containerd of this host: its program, its config, its process and its service."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

from pelagos_core.errors import FailedPrecondition

DEFAULT_CONFIG = "/etc/containerd/config.toml"
# The config that k3s and RKE2 write at each start; `--data-dir` changes the part before `agent`.
_OF_RANCHER = re.compile(r"/agent/etc/containerd/config\.toml$")
_RANCHER = ("/var/lib/rancher/k3s", "/var/lib/rancher/rke2")
# systemd's own (systemd.exec(5), "Environment Variables Set or Propagated by the Service Manager").
_PATH_OF_A_SERVICE = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
_SECONDS = 20
_RESTART_SECONDS = 90


@dataclass(frozen=True, slots=True)
class Containerd:
    """A containerd of this host: its program, its config file, and its pid, 0 if it does not run.

    directories: its PATH, in which it searches a runtime's launcher.
    """

    program: str
    config: str = DEFAULT_CONFIG
    pid: int = 0
    directories: tuple[str, ...] = tuple(_PATH_OF_A_SERVICE.split(":"))

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.pid > 0

    @property
    def of_rancher(self) -> bool:
        """Whether k3s or RKE2 generates its config from a template."""
        return bool(_OF_RANCHER.search(self.config))

    @property
    def is_of_the_node(self) -> bool:
        """Whether its config has the path of a node's config. Docker's own containerd has another one."""
        return self.config == DEFAULT_CONFIG or self.of_rancher


def find() -> Containerd | None:
    """The node's containerd: a running one, else an installed one, else one that runs for another purpose."""
    found = sorted(_running(), key=lambda each: not each.is_of_the_node)
    if found and found[0].is_of_the_node:
        return found[0]
    return next(_installed(), None) or next(iter(found), None)


def of_config(config: str) -> Containerd | None:
    """The containerd for a config file, which need not exist yet; None if no containerd is installed."""
    path = os.path.abspath(config)
    for each in _running():
        if os.path.realpath(each.config) == os.path.realpath(path):
            return each
    installed = list(_installed())
    own = [each for each in installed if os.path.realpath(each.config) == os.path.realpath(path)]
    # A containerd that runs with another config is used last: it may be of another version.
    found = [*own, *installed[::-1], *_running()]
    return Containerd(found[0].program, path) if found else None


def _running() -> Iterator[Containerd]:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        found = of_process(pid)
        if found:
            yield found


def _installed() -> Iterator[Containerd]:
    for directory in _RANCHER:
        program, config = f"{directory}/data/current/bin/containerd", f"{directory}/agent/etc/containerd/config.toml"
        if os.path.exists(config) and os.access(program, os.X_OK):
            yield Containerd(program, config)
    program = shutil.which("containerd") or shutil.which("containerd", path=_PATH_OF_A_SERVICE) or ""
    if program:
        yield Containerd(program)


def of_process(pid: str) -> Containerd | None:
    """The containerd that runs as process `pid`; None if it is another program, or must not be executed here."""
    try:
        # The program of another user, or in a container, must not be executed: it is untrusted.
        if os.stat(f"/proc/{pid}").st_uid not in (0, os.geteuid()):
            return None
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = [os.fsdecode(word) for word in file.read().split(b"\0")]
        if os.path.basename(words[0]) != "containerd":
            return None
        if os.readlink(f"/proc/{pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt"):
            return None
        # proc(5): the suffix of a program that was replaced by a newer version.
        program = os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
        if os.path.basename(program) != "containerd":  # k3s is one program with many names
            program = os.path.join(os.path.dirname(program), "containerd")
        return Containerd(program, _config_of(words, f"/proc/{pid}/cwd"), int(pid), _path_of(pid))
    except OSError:
        return None


def _path_of(pid: str) -> tuple[str, ...]:
    with open(f"/proc/{pid}/environ", "rb") as file:
        variables = [os.fsdecode(each) for each in file.read().split(b"\0")]
    path = next((each[5:] for each in variables if each.startswith("PATH=")), _PATH_OF_A_SERVICE)
    return tuple(each for each in path.split(":") if each)


def _config_of(words: list[str], directory: str) -> str:
    """The config file that a command line names."""
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in ("-c", "--config", "-config"):
            path = value if equals else words[index + 1] if index + 1 < len(words) else ""
            return path if os.path.isabs(path) else os.path.join(os.path.realpath(directory), path)
    return DEFAULT_CONFIG


def unit(containerd: Containerd) -> str:
    """The systemd service of a containerd (for k3s, that of k3s); empty if there is none."""
    try:
        with open(_cgroup_file(containerd.pid), encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:
        return ""
    # cgroups(7): hierarchy, controllers, path. The process may be in a group below the service's.
    found = re.search(r"^\d+:(?:|name=systemd):\S*?/([^/\s]+\.service)(?:/|$)", text, re.MULTILINE)
    return found[1] if found else ""


def _cgroup_file(pid: int) -> str:
    return f"/proc/{pid}/cgroup"


def is_older_than(containerd: Containerd, path: str) -> bool:
    """Whether a containerd was started before the last change of a file."""
    try:
        with open(f"/proc/{containerd.pid}/stat", "rb") as file:
            # proc(5): field 22. Field 2 is in brackets and may contain brackets and spaces.
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        began = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")
        # The start time has the precision of one tick, and so has a file's time.
        return os.stat(path).st_ctime > began + 0.02
    except OSError:
        return False


def restart(containerd: Containerd) -> Containerd:
    """Restart a containerd by systemd; return the new process. Containers keep running.

    Raises FailedPrecondition if it is not a service, or does not start.
    """
    service = unit(containerd)
    if not service or not shutil.which("systemctl"):
        raise FailedPrecondition(f"containerd (process {containerd.pid}) is no service of systemd: restart it yourself")
    words = ["systemctl", "restart", service]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_RESTART_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise FailedPrecondition(f"systemctl restart {service}: no answer in {_RESTART_SECONDS} s") from None
    if done.returncode:
        raise FailedPrecondition(f"systemctl restart {service}: {done.stderr.strip() or 'it failed'}")
    return _came_back(containerd, service)


def _came_back(containerd: Containerd, service: str) -> Containerd:
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        for each in _running():
            if each.config == containerd.config and each.pid != containerd.pid:
                return each
        time.sleep(0.1)
    raise FailedPrecondition(f"{service} is not there after its restart: journalctl -u {service}")
