"""A guest that calls functions of WASI 0.1 for a test; `listener` has its program."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

from pelagos_core.conformance.runner import Runner
from pelagos_core.conformance.wasi.listener import ARENA, LOAD, REQUEST, STORE, source
from pelagos_core.conformance.wasi.names import (
    CREAT,
    DIRECTORY,
    FOLLOW,
    PARAMETERS,
    Errno,
    Filetype,
    Rights,
)

_SECONDS = 30

_TO_WRITE = Rights.FD_DATASYNC | Rights.FD_WRITE | Rights.FD_ALLOCATE | Rights.FD_FILESTAT_SET_SIZE
FILE_RIGHTS = (
    Rights.FD_READ
    | Rights.FD_WRITE
    | Rights.FD_SEEK
    | Rights.FD_TELL
    | Rights.FD_FDSTAT_SET_FLAGS
    | Rights.FD_SYNC
    | Rights.FD_DATASYNC
    | Rights.FD_ADVISE
    | Rights.FD_ALLOCATE
    | Rights.FD_FILESTAT_GET
    | Rights.FD_FILESTAT_SET_SIZE
    | Rights.FD_FILESTAT_SET_TIMES
)


@dataclass(frozen=True)
class Out:
    """An argument: the address of a zeroed buffer of `size` bytes. The content after the call is a result."""

    size: int


@dataclass(frozen=True)
class Fdstat:
    """The type `fdstat`."""

    filetype: Filetype
    flags: int
    base: int
    inheriting: int


@dataclass(frozen=True)
class Filestat:
    """The type `filestat`, times in nanoseconds."""

    dev: int
    ino: int
    filetype: Filetype
    nlink: int
    size: int
    atim: int
    mtim: int
    ctim: int


@dataclass(frozen=True)
class Entry:
    """The type `dirent`, with its name."""

    next: int
    ino: int
    filetype: Filetype
    name: str


@dataclass(frozen=True)
class Event:
    """The type `event`."""

    userdata: int
    error: Errno
    type: int


class Guest:
    """A running guest that calls functions of WASI for a test."""

    def __init__(self, command: list[str], names: frozenset[str]) -> None:
        """Arguments: command: runs `source(names)` with stdin attached. names: the functions of the engine."""
        self.names = names
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as this object)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr, bufsize=0
        )

    @property
    def is_alive(self) -> bool:
        """Whether the guest is running."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the guest."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        try:
            self._process.wait(_SECONDS / 10)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(_SECONDS)
        self._stderr.close()

    def ended(self) -> int:
        """Wait until the guest has ended, print its stderr, and return its exit code."""
        code = self._process.wait(_SECONDS)
        print(f"the guest has ended with {code}:\n{self._said()}")
        return code

    def _said(self) -> str:
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace")

    def errno(self, name: str, *arguments: int | str | bytes | Out) -> Errno:
        """Call a function; return its errno."""
        return self.call(name, *arguments)[0]

    def get(self, name: str, *arguments: int | str | bytes | Out) -> list[bytes]:
        """Call a function that must succeed; return the content of each Out."""
        errno, found = self.call(name, *arguments)
        assert errno is Errno.SUCCESS, f"{name}{arguments}: {errno!r}"
        return found

    def number(self, name: str, *arguments: int | str | bytes | Out) -> int:
        """Call a function that must succeed; return the number in its last Out."""
        return int.from_bytes(self.get(name, *arguments)[-1], "little")

    def call(self, name: str, *arguments: int | str | bytes | Out) -> tuple[Errno, list[bytes]]:
        """Call a function; return its errno and the content of each Out. A text is passed as its address and length."""
        assert name in self.names, f"the engine has no {name}"
        at, words, stored, outs = ARENA, [], b"", []
        for argument in arguments:
            if isinstance(argument, int):
                words.append(argument)
                continue
            data = argument.encode() if isinstance(argument, str) else argument
            if isinstance(data, Out):
                outs.append((at, data.size))
                data = bytes(data.size)
                words.append(at)
            else:
                words += [at, len(data)]
            stored += _request(STORE, at, len(data)) + data
            at += -(-len(data) // 8) * 8 + 8
        loads = b"".join(_request(LOAD, *out) for out in outs)
        self._send(stored + _request(list(PARAMETERS).index(name), 0, 0, *words) + loads, name)
        (errno,) = struct.unpack("<I", self._receive(4, name))
        return Errno(errno), [self._receive(size, name) for _, size in outs]

    def exit(self, code: int) -> int:
        """Call proc_exit; return the container's exit code."""
        self._send(_request(list(PARAMETERS).index("proc_exit"), 0, 0, code), "proc_exit")
        return self.ended()

    def _send(self, data: bytes, name: str) -> None:
        assert self._process.stdin is not None
        try:
            while data:
                data = data[self._process.stdin.write(data) :]
        except BrokenPipeError:
            raise self._lost(name) from None

    def _receive(self, size: int, name: str) -> bytes:
        assert self._process.stdout is not None
        data, deadline = b"", time.monotonic() + _SECONDS
        while len(data) < size:
            left = max(deadline - time.monotonic(), 0)
            if not select.select([self._process.stdout], [], [], left)[0]:
                self._process.send_signal(signal.SIGTERM)
                raise AssertionError(f"{name} does not return")
            chunk = os.read(self._process.stdout.fileno(), size - len(data))
            if not chunk:
                raise self._lost(name)
            data += chunk
        return data

    def _lost(self, name: str) -> AssertionError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_SECONDS)
        return AssertionError(f"the guest has ended in {name}, with {self._process.returncode}: {self._said()}")

    # Frequent calls, with decoded results.

    def preopens(self) -> dict[str, int]:
        """The preopened directories: descriptors by names.

        Some engines omit the slash, or add another `/` first. As in the C library of WASI, the last one with a
        name is used.
        """
        found: dict[str, int] = {}
        for fd in range(3, 64):
            errno, (prestat,) = self.call("fd_prestat_get", fd, Out(8))
            if errno is not Errno.SUCCESS:
                break
            size = int.from_bytes(prestat[4:8], "little")
            (name,) = self.get("fd_prestat_dir_name", fd, Out(size), size)
            found[name.rstrip(b"\0").decode() or "/"] = fd
        return found

    def directory(self, path: str) -> int:
        """Open a directory of the container with the rights that the C library of WASI requests.

        Rights to write are not among them: a directory cannot be opened for writing (open(2), EISDIR).
        """
        preopens = self.preopens()
        around = [name for name in preopens if f"{path}/".startswith(f"{name.rstrip('/')}/")]
        assert around, f"{path} is in none of {list(preopens)}"
        name = max(around, key=len)
        rights = self.fdstat(preopens[name])
        below = path[len(name) :].strip("/") or "."
        return self.open(preopens[name], below, DIRECTORY, rights.base & ~_TO_WRITE, rights.inheriting)

    def open(  # noqa: PLR0913 (the parameters of path_open)
        self,
        fd: int,
        path: str,
        oflags: int = 0,
        base: int = FILE_RIGHTS,
        inheriting: int = 0,
        fdflags: int = 0,
        *,
        follow: bool = False,
    ) -> int:
        """Open a file; the call must succeed. Returns the descriptor."""
        lookup = FOLLOW if follow else 0
        found = self.number("path_open", fd, lookup, path, oflags, int(base), int(inheriting), fdflags, Out(4))
        assert found > 2, f"path_open gave the descriptor {found}"
        return found

    def refused(self, fd: int, path: str, oflags: int = 0, *, follow: bool = False, base: int = 0) -> Errno:
        """Try to open a file; return the errno."""
        return self.errno("path_open", fd, FOLLOW if follow else 0, path, oflags, int(base), 0, 0, Out(4))

    def create(self, fd: int, path: str, content: bytes = b"") -> None:
        """Create a file with this content."""
        made = self.open(fd, path, CREAT)
        if content:
            assert self.write(made, content) == len(content)
        self.close_fd(made)

    def close_fd(self, fd: int) -> None:
        """Close a descriptor."""
        self.get("fd_close", fd)

    def write(self, fd: int, data: bytes, *, at: int | None = None, sizes: tuple[int, ...] = ()) -> int:
        """Call fd_write, or fd_pwrite with `at`, with iovecs of these sizes; return the number of written bytes."""
        errno, count, _ = self.transfer("fd_write" if at is None else "fd_pwrite", fd, data, at, sizes)
        assert errno is Errno.SUCCESS, errno
        return count

    def read(self, fd: int, size: int, *, at: int | None = None, sizes: tuple[int, ...] = ()) -> bytes:
        """Call fd_read, or fd_pread with `at`, with iovecs of these sizes; return the bytes."""
        errno, count, data = self.transfer("fd_read" if at is None else "fd_pread", fd, bytes(size), at, sizes)
        assert errno is Errno.SUCCESS, errno
        return data[:count]

    def transfer(
        self, name: str, fd: int, data: bytes = b"bytes", at: int | None = None, sizes: tuple[int, ...] = ()
    ) -> tuple[Errno, int, bytes]:
        """Call one of the four functions that read and write; return its errno, its count and the buffer."""
        lengths = sizes or (len(data),)
        buffer = ARENA + 8 * len(lengths)
        starts = [buffer + sum(lengths[:index]) for index in range(len(lengths))]
        table = b"".join(struct.pack("<II", *each) for each in zip(starts, lengths, strict=True))
        result = buffer + len(data)
        position = () if at is None else (at,)
        self._send(
            _request(STORE, ARENA, len(table) + len(data))
            + table
            + data
            + _request(list(PARAMETERS).index(name), 0, 0, fd, ARENA, len(lengths), *position, result + -result % 8)
            + _request(LOAD, result + -result % 8, 4)
            + _request(LOAD, buffer, len(data)),
            name,
        )
        errno, count = struct.unpack("<II", self._receive(8, name))
        return Errno(errno), count, self._receive(len(data), name)

    def fdstat(self, fd: int) -> Fdstat:
        """Call fd_fdstat_get."""
        (data,) = self.get("fd_fdstat_get", fd, Out(24))
        filetype, flags, base, inheriting = struct.unpack("<BxHxxxxQQ", data)
        return Fdstat(Filetype(filetype), flags, base, inheriting)

    def filestat(self, fd: int, path: str | None = None, *, follow: bool = False) -> Filestat:
        """Call fd_filestat_get, or path_filestat_get with a path."""
        if path is None:
            (data,) = self.get("fd_filestat_get", fd, Out(64))
        else:
            (data,) = self.get("path_filestat_get", fd, int(follow), path, Out(64))
        dev, ino, filetype, *rest = struct.unpack("<QQB7xQQQQQ", data)
        return Filestat(dev, ino, Filetype(filetype), *rest)

    def readdir(self, fd: int, cookie: int = 0, size: int = 4096) -> tuple[list[Entry], bool]:
        """Call fd_readdir; return the entries that fit, and whether they were the last ones."""
        data, used = self.get("fd_readdir", fd, Out(size), size, cookie, Out(4))
        count = int.from_bytes(used, "little")
        assert count <= size
        return list(_entries(data[:count])), count < size

    def poll(self, *subscriptions: bytes) -> list[Event]:
        """Call poll_oneoff with subscriptions from `clock` and `ready`."""
        number = len(subscriptions)
        stored, room = b"".join(subscriptions), 32 * number
        at_events = ARENA + len(stored) + 8
        at_count = at_events + room + 8
        self._send(
            _request(STORE, ARENA, len(stored))
            + stored
            + _request(list(PARAMETERS).index("poll_oneoff"), 0, 0, ARENA, at_events, number, at_count)
            + _request(LOAD, at_count, 4)
            + _request(LOAD, at_events, room),
            "poll_oneoff",
        )
        errno, count = struct.unpack("<II", self._receive(8, "poll_oneoff"))
        assert errno == Errno.SUCCESS, Errno(errno)
        data = self._receive(room, "poll_oneoff")
        found = [struct.unpack_from("<QHB", data, 32 * index) for index in range(count)]
        return [Event(userdata, Errno(error), kind) for userdata, error, kind in found]


def provided_functions(run: Runner) -> frozenset[str]:
    """The functions that the engine provides. If any is missing, each is tried alone, so that tests can name it."""
    everything = frozenset(PARAMETERS)
    if run(source()).code == 0:
        return everything
    return frozenset(name for name in everything if run(source(frozenset({name}))).code == 0)


def clock(userdata: int, clockid: int, timeout: int, flags: int = 0) -> bytes:
    """A subscription to a clock. timeout: nanoseconds from now; with ABSTIME, a time of the clock."""
    return struct.pack("<QB7xI4xQQH6x", userdata, 0, clockid, timeout, 0, flags)


def ready(userdata: int, fd: int, kind: int) -> bytes:
    """A subscription to a descriptor that becomes readable (FD_READ) or writable (FD_WRITE)."""
    return struct.pack("<QB7xI28x", userdata, kind, fd)


def _request(what: int, where: int, size: int, *arguments: int) -> bytes:
    words = [word - (1 << 64) if word >= 1 << 63 else word for word in arguments]
    return REQUEST.pack(what, where, size, 0, *words, *[0] * (10 - len(words)))


def _entries(data: bytes) -> Iterator[Entry]:
    while len(data) >= 24:
        after, ino, length, filetype = struct.unpack_from("<QQIB", data)
        if len(data) < 24 + length:
            return
        yield Entry(after, ino, Filetype(filetype), data[24 : 24 + length].decode())
        data = data[24 + length :]
