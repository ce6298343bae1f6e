"""Namespaces: their types, and functions to create, join and compare them.

Source: namespaces(7), pid_namespaces(7), setns(2), unshare(2).
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterable

from pelagos_core.errors import InvalidArgument
from pelagos_core.linux import syscalls
from pelagos_core.linux.descriptor import Fd

CLONE_FLAGS = {
    "mount": syscalls.CLONE_NEWNS,
    "cgroup": syscalls.CLONE_NEWCGROUP,
    "uts": syscalls.CLONE_NEWUTS,
    "ipc": syscalls.CLONE_NEWIPC,
    "pid": syscalls.CLONE_NEWPID,
    "network": syscalls.CLONE_NEWNET,
    "user": syscalls.CLONE_NEWUSER,
    "time": syscalls.CLONE_NEWTIME,
}
# The names of their files in /proc/PID/ns.
FILES = {"mount": "mnt", "cgroup": "cgroup", "uts": "uts", "ipc": "ipc", "pid": "pid", "network": "net"} | {
    "user": "user",
    "time": "time",
}


def unshare(kinds: Iterable[str]) -> None:
    """Move the calling process into a new namespace of each kind (`pid`: its later children). Raises OSError."""
    flags = 0
    for kind in kinds:
        flags |= CLONE_FLAGS[kind]
    if flags:
        syscalls.unshare(flags)


def join(kind: str, path: str) -> None:
    """Move the calling process into the namespace at `path` (`pid`: its later children).

    Raises InvalidArgument if the path is not a namespace of this kind, or cannot be joined.
    """
    try:
        with Fd(os.open(path, os.O_RDONLY | os.O_CLOEXEC)) as fd:
            syscalls.setns(fd, CLONE_FLAGS[kind])
    except OSError as error:
        raise InvalidArgument(f"{kind} namespace {path!r}: {error.strerror}") from None


@functools.cache
def in_user_namespace() -> bool:
    """Whether the calling process is in a user namespace other than the host's."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return file.read().split() != ["0", "0", str(2**32 - 1)]


def fork(pid_namespace: str | None) -> int:
    """Fork a child into a pid namespace. Returns its pid; 0 in the child.

    pid_namespace: the path of an existing one, `""` for a new one, None for the caller's own.

    In the daemon, which is the parent in each case and reaps the child. Raises InvalidArgument or OSError.
    """
    if not pid_namespace:
        return syscalls.fork(0 if pid_namespace is None else syscalls.CLONE_NEWPID)
    return _fork_after(lambda: join("pid", pid_namespace))


def fork_beside(pidfd: int) -> int:
    """Fork a child into the pid namespace of another process. Returns its pid; 0 in the child.

    In the daemon. Raises OSError if that process has ended.
    """
    return _fork_after(lambda: syscalls.setns(pidfd, syscalls.CLONE_NEWPID))


def _fork_after(join_namespace: Callable[[], None]) -> int:
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    pid = -1
    # The child has a copy of the daemon's memory. Other processes of its pid namespace could read that when the
    # child's capabilities are no more than theirs (as in CVE-2016-9962). So it is not dumpable, and ptrace(2) refuses
    # access, until execve(2) resets it. Set before the fork: the child must not be dumpable at any time.
    dumpable = syscalls.prctl(syscalls.PR_GET_DUMPABLE)
    try:
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        join_namespace()
        pid = syscalls.fork(0)
    finally:
        if pid:
            # Later children are created in the daemon's own pid namespace again.
            syscalls.setns(own, syscalls.CLONE_NEWPID)
            syscalls.prctl(syscalls.PR_SET_DUMPABLE, int(dumpable == 1))
        os.close(own)
    return pid


def is_own(path: str) -> bool:
    """Whether the calling process, or process 1, is in the namespace at `path`."""
    try:
        found = os.stat(path)
    except OSError:
        return False  # the join reports a better error
    own = []
    for directory in ("/proc/self/ns", "/proc/1/ns"):
        with contextlib.suppress(OSError):  # only root can read those of process 1
            own += [os.stat(f"{directory}/{name}") for name in os.listdir(directory)]
    return (found.st_dev, found.st_ino) in {(each.st_dev, each.st_ino) for each in own}
