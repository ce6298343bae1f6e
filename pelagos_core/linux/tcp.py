"""The TCP sockets of another process: its listeners, and the activity of its connections.

A copy of each descriptor (pidfd_getfd(2)) is opened for a moment only: while a copy is open, a connection that the
process closes stays open.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pelagos_core.linux import syscalls
from pelagos_core.linux.descriptor import Fd
from pelagos_core.linux.pidfd import is_readable

_MOST = 4096  # maximum number of descriptors of a process to inspect
_ESTABLISHED, _LISTEN = 1, 10  # tcp_states.h
# Offsets in struct tcp_info (tcp.h): the state, the queue of a listening socket, milliseconds since data was sent and
# received, bytes that the peer has acknowledged (followed by the bytes that were received).
_STATE, _QUEUED, _SENT, _RECEIVED, _CONFIRMED = 0, 24, 44, 52, 120
_INFO_BYTES = 136
_UNREAD, _UNSENT = 0x541B, 0x5411  # tcp(7): SIOCINQ, SIOCOUTQ


@dataclass(frozen=True, slots=True)
class Connection:
    """The state of an established connection.

    received: bytes from the peer so far. sent: bytes that the peer has acknowledged. since_received, since_sent:
    milliseconds, in steps of the kernel's clock. pending: bytes that are not read, sent or acknowledged yet.
    """

    received: int
    sent: int
    since_received: int
    since_sent: int
    pending: int


class Sockets:
    """The TCP sockets of a process.

    Its methods raise OSError if the process has ended, or if the caller may not inspect it (ptrace(2)).
    """

    def __init__(self, pid: int, pidfd: int) -> None:
        """pidfd: of the process `pid`; the caller keeps it open while this object is used.

        Raises ProcessLookupError if the process has ended: the pid may be reused.
        """
        self._pidfd = pidfd
        self._directory = Fd(os.open(f"/proc/{pid}/fd", os.O_RDONLY | os.O_DIRECTORY))
        if is_readable(pidfd, 0):
            self._directory.close()
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))

    def close(self) -> None:
        """Close the directory of its descriptors."""
        self._directory.close()

    def listeners(self) -> Iterator[socket.socket]:
        """Yield copies of the listening sockets. Each copy is closed when the next one is requested."""
        return (copy for _, copy, info in self._each() if info[_STATE] == _LISTEN)

    def connections(self) -> Iterator[tuple[str, socket.socket, Connection]]:
        """Yield the established connections: a constant name, a copy as in `listeners`, and the state."""
        for name, copy, info in self._each():
            if info[_STATE] == _ESTABLISHED:
                yield name, copy, _connection(copy, info)

    def _each(self) -> Iterator[tuple[str, socket.socket, bytes]]:
        seen = set()
        with os.scandir(self._directory) as entries:
            numbers = [entry.name for _, entry in zip(range(_MOST), entries, strict=False)]
        for number in numbers:
            with contextlib.suppress(FileNotFoundError):
                name = os.readlink(number, dir_fd=self._directory)
                if name.startswith("socket:") and name not in seen:
                    seen.add(name)
                    yield from self._copied(name, int(number))

    def _copied(self, name: str, number: int) -> Iterator[tuple[str, socket.socket, bytes]]:
        try:
            copied = syscalls.pidfd_getfd(self._pidfd, number)
        except OSError as error:
            if error.errno == errno.EBADF:
                return  # the process has closed it meanwhile
            raise
        with contextlib.closing(_socket(copied)) as copy:
            info = _info(copy)
            if len(info) == _INFO_BYTES:
                yield name, copy, info


def queue(listener: socket.socket) -> int:
    """The number of connections that wait to be accepted."""
    return int(struct.unpack_from("I", _info(listener), _QUEUED)[0])


def _socket(fd: int) -> socket.socket:
    try:
        return socket.socket(fileno=fd)
    except OSError:  # the descriptor is another file by now
        os.close(fd)
        raise


def _info(copy: socket.socket) -> bytes:
    """Its `tcp_info`; empty for a socket of another protocol."""
    try:
        return copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
    except OSError:
        return b""


def _connection(copy: socket.socket, info: bytes) -> Connection:
    since_received, since_sent = (struct.unpack_from("I", info, offset)[0] for offset in (_RECEIVED, _SENT))
    confirmed, received = struct.unpack_from("QQ", info, _CONFIRMED)
    pending = sum(struct.unpack("i", fcntl.ioctl(copy, request, bytes(4)))[0] for request in (_UNREAD, _UNSENT))
    return Connection(received, confirmed, since_received, since_sent, pending)
