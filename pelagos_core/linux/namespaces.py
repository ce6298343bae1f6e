"""Namespaces: which kinds there are, how to enter new and given ones.

Source: namespaces(7), pid_namespaces(7), setns(2), unshare(2).
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from pelagos_core.errors import InvalidArgument
from pelagos_core.linux import syscalls

CLONE_FLAGS = {
    "mount": syscalls.CLONE_NEWNS,
    "cgroup": syscalls.CLONE_NEWCGROUP,
    "uts": syscalls.CLONE_NEWUTS,
    "ipc": syscalls.CLONE_NEWIPC,
    "pid": syscalls.CLONE_NEWPID,
    "network": syscalls.CLONE_NEWNET,
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


def join(kind: str, path: str) -> None:
    """Move the calling process into the namespace at `path` (`pid`: its children).

    Raises InvalidArgument if the path is no namespace of this kind.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidArgument(f"{kind} namespace {path!r}: {error.strerror}") from None
    try:
        syscalls.setns(fd, CLONE_FLAGS[kind])
    except OSError as error:
        raise InvalidArgument(f"{kind} namespace {path!r}: {error.strerror}") from None
    finally:
        os.close(fd)


@contextmanager
def children_in_pid_namespace(path: str | None) -> Iterator[None]:
    """Within the block, children are born into a pid namespace.

    path: an existing one, `""` for a new one, None for the caller's own.

    In the daemon. Since the daemon forks itself, the child is its own and it reaps it,
    unlike with a helper process that forks again. Leaving the block puts the daemon's
    later children back where they were (setns to one's own pid namespace is allowed).
    """
    if path is None:
        yield
        return
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if path:
            join("pid", path)
        else:
            unshare(["pid"])
        try:
            yield
        finally:
            syscalls.setns(own, syscalls.CLONE_NEWPID)
    finally:
        os.close(own)


def bring_loopback_up() -> None:
    """Bring `lo` up in the calling process' network namespace, as every OCI runtime does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        reply = fcntl.ioctl(sock, _SIOCGIFFLAGS, _IFREQ_FLAGS.pack(b"lo", 0))
        _, flags = _IFREQ_FLAGS.unpack(reply)
        fcntl.ioctl(sock, _SIOCSIFFLAGS, _IFREQ_FLAGS.pack(b"lo", flags | _IFF_UP))
