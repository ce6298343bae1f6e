"""What a daemon leaves in a bundle, so that `delete` can clean up after a dead daemon.

A text file of `key value` lines, started before the container's cgroup is made and
completed after the fork. Lean on purpose: the `delete` path reads it. The bundle is root's
own directory (mode 0700); no guest and no image can write there.
"""

import os

from pelagos_core.errors import Internal

NAME = "pelagos.record"

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def write_cgroups(bundle: str, paths: "tuple[str, ...]") -> None:
    """Start the record with the directories that are about to be made."""
    _write(bundle, os.O_TRUNC, "".join(f"cgroup {path}\n" for path in paths))


def add_process(bundle: str, pid: int) -> None:
    """Add a process, with its start time: a pid alone could be a stranger's later."""
    _write(bundle, os.O_APPEND, f"process {pid} {start_time(pid)}\n")


def remove(bundle: str) -> None:
    """Nothing is left to clean up. A record that is gone already is no error."""
    try:
        os.unlink(os.path.join(bundle, NAME))
    except FileNotFoundError:
        pass


def read(bundle: str) -> "tuple[list[str], list[tuple[int, int]]]":
    """The cgroup directories and the (pid, start time) pairs of a record.

    A missing record, or lines that a crash has cut short, give empty or shorter lists.
    """
    try:
        with open(os.path.join(bundle, NAME), "rb") as file:
            lines = file.read(1 << 20).decode("utf-8", "replace").splitlines()
    except OSError:
        return [], []
    cgroups, processes = [], []
    for line in lines:
        key, _, value = line.partition(" ")
        words = value.split(" ")
        if key == "cgroup" and value.startswith("/"):
            cgroups.append(value)
        elif key == "process" and len(words) == 2 and words[0].isdigit() and words[1].isdigit():
            processes.append((int(words[0]), int(words[1])))
    return cgroups, processes


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot (proc(5), stat field 22); 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The second field is the name in brackets, and may hold spaces and brackets.
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError):
        return 0


def _write(bundle: str, flags: int, text: str) -> None:
    try:
        fd = os.open(os.path.join(bundle, NAME), _FLAGS | flags, 0o600)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise Internal(f"bundle {bundle!r}: cannot write {NAME}: {error.strerror}") from None
