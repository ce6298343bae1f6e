"""The control groups of one measurement: reads processor time and memory, and removes the groups."""

from __future__ import annotations

import time
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_END_SECONDS = 5.0
_SHIMS = "shims"


class ProcessorTime:
    """The processor time of a shim and all processes that it has forked, also of reaped ones.

    A group includes the time of its child groups, also of removed ones
    (Documentation/admin-guide/cgroup-v1/cpuacct.rst, cgroup-v2.rst). The containers' groups are children of the
    measurement's group. The shim runs in another child, since in version 2 a group
    with child groups may not have processes.
    """

    def __init__(self, name: str) -> None:
        """Arguments: name: the group that contains all containers' groups. Raises OSError."""
        # In version 1, a group of this controller only: memory is charged as usual.
        top = _ROOT if is_unified() else _hierarchy("cpuacct")
        self._group = top / name
        shims = self._group / _SHIMS
        shims.mkdir(parents=True, exist_ok=True)
        self.members = shims / "cgroup.procs"
        """The file to which a process writes 0 to join."""

    def seconds(self) -> float:
        """The processor time so far, in seconds. Raises OSError."""
        if is_unified():
            return int(_value(self._group / "cpu.stat", "usage_usec")) / 1e6
        return int((self._group / "cpuacct.usage").read_text()) / 1e9


def sibling(name: str) -> Path:
    """Create a sibling of the containers' groups, which gets the same share of the processors as each of them.

    name: the group that contains the containers' groups.
    Returns the file to which a process writes 0 to join. Raises OSError.
    """
    group = (_ROOT if is_unified() else _hierarchy("cpu")) / name / "alone"
    group.mkdir(parents=True, exist_ok=True)
    return group / "cgroup.procs"


def charged_mib(pid: int) -> float:
    """The memory that is charged to a container's group, in MiB. pid: its first process. Raises OSError."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if is_unified() and not controllers:
            return int((_ROOT / path[1:] / "memory.current").read_text()) / 2**20
        if "memory" in controllers.split(","):
            return int((_hierarchy("memory") / path[1:] / "memory.usage_in_bytes").read_text()) / 2**20
    raise FileNotFoundError(f"process {pid} is in no group with a memory controller")


def remove(name: str) -> None:
    """Remove the groups with this prefix and their children, in every hierarchy.

    Raises OSError if a group is still in use after some seconds.
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
    """Whether the machine has only version 2."""
    return (_ROOT / "cgroup.controllers").exists()


def _hierarchy(controller: str) -> Path:
    """The mount point of a controller of version 1. Raises OSError."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup" and controller in options.split(","):
            return Path(where)
    raise FileNotFoundError(f"no control groups with {controller}")


def _value(path: Path, key: str) -> str:
    """The value of a key in a file of keys and values. Raises OSError."""
    for line in path.read_text().splitlines():
        if line.startswith(f"{key} "):
            return line.split()[1]
    raise FileNotFoundError(f"{path} has no {key}")
