"""The record of a container in its bundle, so that `delete` can clean up after a dead daemon.

A text file of `key value` lines. The daemon writes it before it creates the container's cgroup, and adds a line
after each fork. Lean, since `delete` reads it. The bundle is root's directory (mode 0700): no guest and no image
can write to it.
"""

import os

from pelagos_core.errors import Internal

NAME = "pelagos.record"

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def write_cgroups(bundle: str, paths: "tuple[str, ...]") -> None:
    """Create the record with the directories of the cgroup, before they are created."""
    _write(bundle, os.O_TRUNC, "".join([f"cgroup {path}\n" for path in paths]))


def add_process(bundle: str, pid: int) -> None:
    """Add the init process, with its start time, since the pid can be reused."""
    _write(bundle, os.O_APPEND, f"process {pid} {start_time(pid)}\n")


def add_exec(bundle: str, pid: int) -> None:
    """Add a further process of the container."""
    _write(bundle, os.O_APPEND, f"exec {pid} {start_time(pid)}\n")


def remove_process(bundle: str, pid: int) -> None:
    """Remove a process from the record, which would else grow with each exec probe."""
    lines = [line for line in _lines(bundle) if line.split(" ")[:2] not in (["exec", str(pid)], ["process", str(pid)])]
    _write(bundle, os.O_TRUNC, "".join(f"{line}\n" for line in lines), f"{NAME}.new")
    os.rename(os.path.join(bundle, f"{NAME}.new"), os.path.join(bundle, NAME))


def remove(bundle: str) -> None:
    """Remove the record: nothing is left to clean up. Does nothing if it is missing."""
    try:
        os.unlink(os.path.join(bundle, NAME))
    except FileNotFoundError:
        pass


def read(bundle: str) -> "tuple[list[str], list[tuple[int, int]], int]":
    """The cgroup directories, the (pid, start time) pairs and the init process' pid of a record.

    A missing record, or lines truncated by a crash, give empty or shorter lists.
    """
    cgroups, processes, init = [], [], 0
    for line in _lines(bundle):
        key, _, value = line.partition(" ")
        words = value.split(" ")
        if key == "cgroup" and value.startswith("/") and ".." not in value.split("/"):
            cgroups.append(value)
        elif key in ("process", "exec") and len(words) == 2 and words[0].isdigit() and words[1].isdigit():
            processes.append((int(words[0]), int(words[1])))
            init = processes[-1][0] if key == "process" else init
    return cgroups, processes, init


def start_time(pid: int) -> int:
    """The start time of a process, in clock ticks since boot (proc(5), stat field 22); 0 if it has ended."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            # The second field is the name in parentheses, which may contain spaces and parentheses.
            return int(os.read(fd, 4096).rpartition(b")")[2].split()[19])
        finally:
            os.close(fd)
    except (OSError, IndexError):
        return 0


def _lines(bundle: str) -> "list[str]":
    try:
        fd = os.open(os.path.join(bundle, NAME), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        status = os.fstat(fd)
        # `delete` kills and removes what the record names, so only its owner may write it.
        if status.st_uid != os.geteuid() or status.st_mode & 0o170022 != 0o100000:
            return []
        return os.read(fd, 1 << 20).decode("utf-8", "replace").splitlines()
    finally:
        os.close(fd)


def _write(bundle: str, flags: int, text: str, name: str = NAME) -> None:
    try:
        fd = os.open(os.path.join(bundle, name), _FLAGS | flags, 0o600)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise Internal(f"bundle {bundle!r}: cannot write {NAME}: {error.strerror}") from None
