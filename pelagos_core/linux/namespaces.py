"""Namespaces: which kinds there are, how to enter new and given ones.

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
    """Move the calling process into a new namespace of each kind (`pid`: its children)."""
    flags = 0
    for kind in kinds:
        flags |= CLONE_FLAGS[kind]
    if flags:
        syscalls.unshare(flags)


def join(kind: str, path: str) -> None:
    """Move the calling process into the namespace at `path` (`pid`: its children).

    Raises InvalidArgument if the path is no namespace of this kind.
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
    """Fork a child into a pid namespace; returns its pid, and 0 in the child.

    pid_namespace: an existing one's path, `""` for a new one, None for the caller's own.

    In the daemon: the child is the daemon's own in each case, so the daemon reaps it.
    """
    if not pid_namespace:
        return syscalls.fork(0 if pid_namespace is None else syscalls.CLONE_NEWPID)
    return _fork_after(lambda: join("pid", pid_namespace))


def fork_beside(pidfd: int) -> int:
    """Fork a child into the pid namespace of another process; its pid, and 0 in the child.

    In the daemon. Raises OSError if that process has ended.
    """
    return _fork_after(lambda: syscalls.setns(pidfd, syscalls.CLONE_NEWPID))


def _fork_after(join_namespace: Callable[[], None]) -> int:
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    pid = -1
    # The child is a copy of the daemon among foreign processes, which could read its memory once its
    # capabilities are no more than theirs (as in CVE-2016-9962). ptrace(2): not if it cannot be
    # dumped, which execve(2) undoes. It is born so.
    dumpable = syscalls.prctl(syscalls.PR_GET_DUMPABLE)
    try:
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        join_namespace()
        pid = syscalls.fork(0)
    finally:
        if pid:
            # Later children are born where we are again: setns(2) allows one's own namespace.
            syscalls.setns(own, syscalls.CLONE_NEWPID)
            syscalls.prctl(syscalls.PR_SET_DUMPABLE, int(dumpable == 1))
        os.close(own)
    return pid


def is_own(path: str) -> bool:
    """Whether the namespace at `path` is one that the calling process, or the system's first one, is in."""
    try:
        found = os.stat(path)
    except OSError:
        return False  # joining it gives the better error
    own = []
    for directory in ("/proc/self/ns", "/proc/1/ns"):
        with contextlib.suppress(OSError):  # of the first one only root sees them
            own += [os.stat(f"{directory}/{name}") for name in os.listdir(directory)]
    return (found.st_dev, found.st_ino) in {(each.st_dev, each.st_ino) for each in own}
