"""Control groups of one measurement: what all of its processes take, what a container is charged, and their end."""

from __future__ import annotations

import time
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_END_SECONDS = 5.0
_SHIMS = "shims"


class ProcessorTime:
    """The processor time of a shim and all that it has forked, also of what was reaped.

    A group counts what is done in the groups below it, and keeps the time of those that are removed
    (Documentation/admin-guide/cgroup-v1/cpuacct.rst, cgroup-v2.rst). The containers' groups are below the
    measurement's, and the shim is executed in one beside them, since in version 2 none that has groups below it may
    have processes.
    """

    def __init__(self, name: str) -> None:
        """name: of the group that all containers' groups are below. Raises OSError."""
        # In version 1 the group of this one controller only: memory is charged as ever.
        top = _ROOT if is_unified() else _hierarchy("cpuacct")
        self._group = top / name
        shims = self._group / _SHIMS
        shims.mkdir(parents=True, exist_ok=True)
        self.members = shims / "cgroup.procs"
        """A process joins by writing 0 to this file."""

    def seconds(self) -> float:
        """So far. Raises OSError."""
        if is_unified():
            return int(_value(self._group / "cpu.stat", "usage_usec")) / 1e6
        return int((self._group / "cpuacct.usage").read_text()) / 1e9


def sibling(name: str) -> Path:
    """A group beside those of the containers of a measurement, which has as much of the processors as one of them.

    name: of the group that those are below. Returns the file to which a process writes 0 to join. Raises OSError.
    """
    group = (_ROOT if is_unified() else _hierarchy("cpu")) / name / "alone"
    group.mkdir(parents=True, exist_ok=True)
    return group / "cgroup.procs"


def charged_mib(pid: int) -> float:
    """The memory that the group of a container is charged: its first process is `pid`. Raises OSError."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if is_unified() and not controllers:
            return int((_ROOT / path[1:] / "memory.current").read_text()) / 2**20
        if "memory" in controllers.split(","):
            return int((_hierarchy("memory") / path[1:] / "memory.usage_in_bytes").read_text()) / 2**20
    raise FileNotFoundError(f"process {pid} is in no group with a memory controller")


def remove(name: str) -> None:
    """Remove the groups whose names begin like this and all below, of every hierarchy.

    Raises OSError if one is still in use after some seconds.
    """
    deadline = time.monotonic() + _END_SECONDS
    tops = (*_ROOT.glob(f"{name}*"), *_ROOT.glob(f"*/{name}*"))
    paths = [path for top in tops for path in (top, *top.rglob("*")) if path.is_dir()]
    for path in sorted(paths, key=lambda path: -len(path.parts)):
        while path.exists():
            try:
                path.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)


def is_unified() -> bool:
    """Whether the machine has version 2 alone."""
    return (_ROOT / "cgroup.controllers").exists()


def _hierarchy(controller: str) -> Path:
    """Where a controller of version 1 is mounted. Raises OSError."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup" and controller in options.split(","):
            return Path(where)
    raise FileNotFoundError(f"no control groups with {controller}")


def _value(path: Path, key: str) -> str:
    """The value of a file of keys and values. Raises OSError."""
    for line in path.read_text().splitlines():
        if line.startswith(f"{key} "):
            return line.split()[1]
    raise FileNotFoundError(f"{path} has no {key}")
