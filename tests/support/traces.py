"""Lists what containers may leave on a machine, one line for each."""

from __future__ import annotations

import contextlib
import os
import zlib
from pathlib import Path

from tests.support.containerd import mounts, shims, until


def traces(place: Path, container: str) -> list[str]:
    """The processes, mounts, sockets and groups of a containerd's shims and of containers with this prefix.

    place: the daemon's directory, which contains sockets and state.
    """
    return [
        *(f"process {pid}: {words}" for pid, words in shims(place)),
        *(f"mount {path}" for path in mounts(place)),
        *(f"socket {path}" for path in _below(place / "s")),
        *(f"cgroup {path}" for path in cgroups(container)),
    ]


def nothing_is_left(place: Path, container: str, seconds: float = 10) -> None:
    """Wait until there are no traces; fail with the remaining ones."""
    until(lambda: not traces(place, container), seconds, lambda: "\n".join(traces(place, container)))


def cgroups(name: str) -> list[str]:
    """The control groups of containers with this prefix."""
    return [path for path, _, _ in os.walk("/sys/fs/cgroup") if os.path.basename(path).startswith(name)]


def cgroups_of(directory: Path) -> list[str]:
    """The control groups of the containers whose bundles are right below a directory.

    They are named by the hash of the bundle's path, where the spec asks for no other name.
    """
    endings = tuple(f"-{zlib.crc32(str(bundle).encode()):08x}" for bundle in directory.iterdir())
    return [path for path, _, _ in os.walk("/sys/fs/cgroup") if path.endswith(endings)]


def parent(pid: int) -> int:
    """The parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def children(pid: int) -> list[int]:
    """The children of a process, zombies too."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def waiting(pid: int) -> list[int]:
    """The children of a daemon that do not belong to a container: its nursery."""
    return [child for child in children(pid) if comm(child) == "pelagos-nursery"]


def processes(pid: int) -> list[int]:
    """The children of a daemon that are containers' processes, zombies too."""
    # A process that was just forked still has the daemon's name: wait until it has set its own.
    with contextlib.suppress(AssertionError):
        until(lambda: comm(pid) not in [comm(child) for child in children(pid)], seconds=1)
    return sorted(set(children(pid)) - set(waiting(pid)))


def descriptors(pid: int) -> int:
    """How many descriptors an idle daemon has open, except kept mounts of compiled code and empty networks."""
    mounts = {line.split()[0] for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()}
    opened = os.listdir(f"/proc/{pid}/fd")
    return sum(not _is_network(pid, fd) and not _is_detached(pid, fd, mounts) for fd in opened)


def _is_network(pid: int, fd: str) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/fd/{fd}").startswith("net:[")
    except OSError:
        return False


def _is_detached(pid: int, fd: str, mounts: set[str]) -> bool:
    """Whether a descriptor is a directory of a detached mount. mounts: the numbers of those that are attached."""
    try:
        is_directory = os.path.isdir(f"/proc/{pid}/fd/{fd}")
        said = Path(f"/proc/{pid}/fdinfo/{fd}").read_text()
    except OSError:
        return False
    return is_directory and said.partition("mnt_id:\t")[2].split()[0] not in mounts


def comm(pid: int) -> str:
    """The name of a process in `ps`; empty if it has exited."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _below(directory: Path) -> list[str]:
    return [str(path) for path in directory.iterdir()] if directory.exists() else []
