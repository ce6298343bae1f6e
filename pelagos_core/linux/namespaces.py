"""Namespaces: which kinds there are, how to enter new and given ones.

Source: namespaces(7), pid_namespaces(7), setns(2), unshare(2).
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import socket
import struct
from collections.abc import Callable, Iterable

from pelagos_core.errors import InvalidArgument
from pelagos_core.linux import syscalls
from pelagos_core.linux.descriptor import Fd
from pelagos_core.oci import TimeOffset

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

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_IFREQ_FLAGS = struct.Struct("16sh22x")  # netdevice(7): struct ifreq with ifr_flags


def unshare(kinds: Iterable[str]) -> None:
    """Move the calling process into a new namespace of each kind (`pid`: its children)."""
    flags = 0
    for kind in kinds:
        flags |= CLONE_FLAGS[kind]
    if flags:
        syscalls.unshare(flags)


def unshare_time(offsets: Iterable[TimeOffset]) -> None:
    """Move the calling process, of one thread, into a new time namespace with these offsets.

    time_namespaces(7): unshare(2) prepares it for children; until the first one is in it the
    offsets can be set, and setns(2) takes the process itself there.
    """
    syscalls.unshare(syscalls.CLONE_NEWTIME)
    with open("/proc/self/timens_offsets", "wb", buffering=0) as file:
        file.write("".join(f"{each.clock} {each.seconds} {each.nanoseconds}\n" for each in offsets).encode())
    with Fd(os.open("/proc/self/ns/time_for_children", os.O_RDONLY | os.O_CLOEXEC)) as fd:
        syscalls.setns(fd, syscalls.CLONE_NEWTIME)


def join(kind: str, path: str, *, foreign: bool = False) -> None:
    """Move the calling process into the namespace at `path` (`pid`: its children).

    foreign: it must be another one than the caller's, which is the host's.
    Raises InvalidArgument if the path is no namespace of this kind, or the caller's own.
    """
    try:
        with Fd(os.open(path, os.O_RDONLY | os.O_CLOEXEC)) as fd:
            if foreign and os.path.samestat(os.fstat(fd), os.stat(f"/proc/self/ns/{FILES[kind]}")):
                raise InvalidArgument(f"{kind} namespace {path!r} is the host's, and the spec changes something in it")
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


def fork_sibling(cgroup: str | None) -> int:
    """Fork a child of our parent into a new pid namespace; its pid, and 0 in the child.

    In the nursery, which has one thread: the child is the daemon's, which reaps it.
    cgroup: the directory of a control group (v2) that it should be born in, if the kernel lets it.
    """
    flags = syscalls.CLONE_NEWPID | syscalls.CLONE_PARENT
    if cgroup:
        # Where that fails it joins the group as any other process, or gets the better error from that.
        with (
            contextlib.suppress(OSError),
            Fd(os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as directory,
        ):
            return syscalls.duplicate_into(directory, flags)
    return syscalls.duplicate(flags)


def fork_beside(pidfd: int) -> int:
    """Fork a child into the pid namespace of another process; its pid, and 0 in the child.

    In the daemon. Raises OSError if that process has ended.
    """
    return _fork_after(lambda: syscalls.setns(pidfd, syscalls.CLONE_NEWPID))


def join_process(pidfd: int, kinds: Iterable[str]) -> None:
    """Move the calling process into a process' namespaces of these kinds, all at once."""
    flags = 0
    for kind in kinds:
        flags |= CLONE_FLAGS[kind]
    syscalls.setns(pidfd, flags)


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
    """Whether the namespace at `path` is one that the calling process is in."""
    try:
        found = os.stat(path)
        own = [os.stat(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")]
    except OSError:
        return False  # joining it gives the better error
    return (found.st_dev, found.st_ino) in {(each.st_dev, each.st_ino) for each in own}


def bring_loopback_up() -> None:
    """Bring `lo` up in the calling process' network namespace, as every OCI runtime does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        reply = fcntl.ioctl(sock, _SIOCGIFFLAGS, _IFREQ_FLAGS.pack(b"lo", 0))
        _, flags = _IFREQ_FLAGS.unpack(reply)
        fcntl.ioctl(sock, _SIOCSIFFLAGS, _IFREQ_FLAGS.pack(b"lo", flags | _IFF_UP))
