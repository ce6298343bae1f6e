"""One standard stream: from a path or URI to a descriptor, and the ends that the daemon keeps open.

For each output FIFO the daemon keeps a reading end, so that the writer gets no EPIPE while containerd
is down; fifo(7): a FIFO keeps its bytes as long as any end is open.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import errno
import fcntl
import os
import stat
import termios
from urllib.parse import unquote, urlsplit

from pelagos_core.errors import InvalidArgument, NotFound, PelagosError, Unimplemented, code_of, from_fields

_POLL_SECONDS = (0.005, 0.02, 0.1, 0.5)  # the last one repeats


class Input:
    """A process' standard input.

    fd: the process' reading end, blocking; -1 after it was closed.
    """

    def __init__(self, path: str) -> None:
        """path: of a FIFO or file; empty for /dev/null. Does not wait until a FIFO's other end is open.

        Raises NotFound or InvalidArgument that names the stream.
        """
        self._writer = -1
        if not path:
            self.fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            return
        self.fd = _open("stdin", _checked("stdin", path, path), os.O_RDONLY)
        try:
            if stat.S_ISFIFO(os.fstat(self.fd).st_mode):
                # The daemon has the FIFO open for writing until CloseIO. Else the process would read end of
                # file whenever no client is attached.
                self._writer = _reopen(self.fd, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            self.handed_over()
            raise
        os.set_blocking(self.fd, True)

    def handed_over(self) -> None:
        """Close `fd`, of which the process has a copy."""
        self.fd = _closed(self.fd)

    def release(self) -> None:
        """Close the daemon's writing end; the process reads end of file once the client has closed too."""
        self._writer = _closed(self._writer)

    def close(self) -> None:
        """Close everything."""
        self.handed_over()
        self.release()


class Output:
    """The target of one standard output: a file, or /dev/null.

    fd: the process' writing end, blocking; -1 after it was closed.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def handed_over(self) -> None:
        """Close `fd`, of which the process has a copy. Else readers would never get end of file."""
        self.fd = _closed(self.fd)

    def write(self, text: bytes) -> None:
        """Write without waiting; the rest is dropped. Only before the process exists, or after its end."""
        if self.fd >= 0:
            os.set_blocking(self.fd, False)
            with contextlib.suppress(OSError):
                os.write(self.fd, text)

    def finish(self) -> bool:
        """Close the writing end: readers get end of file after the last byte.

        Returns False if bytes must be held because there is no reader yet, see `close_once_read`.
        """
        self.handed_over()
        return True

    @property
    def holds_bytes(self) -> bool:
        """Whether `close` would lose bytes."""
        return False

    async def close_once_read(self) -> None:
        """Wait until a reader opens the stream whose bytes `finish` has kept; then close."""

    def close(self) -> None:
        """Close everything now; unread bytes are lost."""
        self.handed_over()


class FifoOutput(Output):
    """A FIFO, held open for reading."""

    def __init__(self, reader: int) -> None:
        self._reader = reader
        self._keeper = -1
        fd = _reopen(reader, os.O_WRONLY | os.O_NONBLOCK)
        os.set_blocking(fd, True)
        super().__init__(fd)

    def finish(self) -> bool:
        """Close the FIFO if a process has it open for reading; else keep its bytes."""
        # This writing end keeps the bytes: the kernel drops them when no end is open.
        self._keeper = _reopen(self._reader, os.O_WRONLY | os.O_NONBLOCK)
        self.handed_over()
        self._reader = _closed(self._reader)
        return self._is_read()

    @property
    def holds_bytes(self) -> bool:
        """Whether the FIFO holds bytes that only the daemon's open end keeps."""
        if self._keeper < 0:
            return False
        count = array.array("i", [0])
        fcntl.ioctl(self._keeper, termios.FIONREAD, count)
        return count[0] > 0

    async def close_once_read(self) -> None:
        """Poll until there is a reader; then close."""
        tries = 0
        try:
            while not self._is_read():
                await asyncio.sleep(_POLL_SECONDS[min(tries, len(_POLL_SECONDS) - 1)])
                tries += 1
        finally:
            self.close()

    def close(self) -> None:
        """Close everything now."""
        self.handed_over()
        self._reader, self._keeper = _closed(self._reader), _closed(self._keeper)

    def _is_read(self) -> bool:
        try:
            os.close(_reopen(self._keeper, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            if error.errno == errno.ENXIO:  # fifo(7): no reader
                return False
            raise
        self.close()
        return True


def open_output(name: str, uri: str) -> Output:
    """Open an output by its path or `file://` URI; an empty one is /dev/null. Never waits for a peer.

    name: the stream, for errors. Raises NotFound, InvalidArgument or Unimplemented that names it.
    """
    if not uri:
        return Output(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC))
    path = _path(name, uri)
    flags = os.O_WRONLY | os.O_APPEND
    if uri != path:
        _make_parent(name, path)
        flags |= os.O_CREAT
    if not _is_fifo(path):
        fd = _open(name, path, flags)
        os.set_blocking(fd, True)
        return Output(fd)
    reader = _open(name, path, os.O_RDONLY)
    try:
        return FifoOutput(reader)
    except OSError:
        os.close(reader)
        raise


def _path(name: str, uri: str) -> str:
    if uri.startswith("/"):
        return _checked(name, uri, uri)
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise InvalidArgument(f"{name} {uri!r}: {error}") from None
    if parts.scheme and parts.scheme != "file":
        raise Unimplemented(f"{name} {uri!r}: {parts.scheme}:// is not supported")
    return _checked(name, uri, unquote(parts.path) if parts.scheme else "")


def _checked(name: str, uri: str, path: str) -> str:
    if not path.startswith("/"):
        raise InvalidArgument(f"{name} {uri!r}: neither an absolute path nor a file URI")
    if "\0" in path:
        raise InvalidArgument(f"{name} {uri!r}: holds a NUL byte")
    return path


def _make_parent(name: str, path: str) -> None:
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    except OSError as error:
        raise _named(name, path, error) from None


def _is_fifo(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False  # open(2) reports the reason


def _open(name: str, path: str, flags: int) -> int:
    try:
        # O_NONBLOCK: else open(2) on a FIFO waits for its other end, and blocks the daemon.
        fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK, 0o644)
    except OSError as error:
        raise _named(name, path, error) from None
    mode = os.fstat(fd).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISCHR(mode):
        return fd
    os.close(fd)
    raise InvalidArgument(f"{name} {path!r}: neither a FIFO nor a file")


def _named(name: str, path: str, error: OSError) -> PelagosError:
    if isinstance(error, FileNotFoundError):
        return NotFound(f"{name} {path!r} does not exist")
    code = code_of(error)
    return from_fields(code, f"{name} {path!r}: {error.strerror}")


def _reopen(fd: int, flags: int) -> int:
    """Open the same FIFO again by its descriptor, since its path may have been removed."""
    return os.open(f"/proc/self/fd/{fd}", flags | os.O_CLOEXEC)


def _closed(fd: int) -> int:
    if fd >= 0:
        os.close(fd)
    return -1
