"""A process' standard streams: from the paths in a request to descriptors.

The guest gets the FIFOs themselves, with no copy in between. For each output the daemon
keeps a reading end, so that the guest sees neither EPIPE nor an end when containerd is
away; fifo(7): a FIFO keeps its bytes as long as any end is open.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import stat
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from pelagos_core.errors import InvalidArgument, NotFound, PelagosError, Unimplemented, from_status, to_status

_LINGER_SECONDS = (0.005, 0.02, 0.1, 0.5)  # the last one again and again


@dataclass(frozen=True, slots=True)
class StdioPaths:
    """What the Create or Exec request says, returned by State exactly as given."""

    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    terminal: bool = False


class Stdio:
    """The open streams of one process. In the daemon."""

    def __init__(self, paths: StdioPaths) -> None:
        """Open everything; never waits for a peer.

        Raises NotFound, InvalidArgument or Unimplemented that names the stream.
        """
        self.paths = paths
        self.child = (-1, -1, -1)
        self._stdin_writer = -1
        self._outputs: list[_Output] = []
        self._lingering: list[asyncio.Task[None]] = []
        opened: list[int] = []
        try:
            opened.append(self._open_stdin(paths.stdin))
            # containerd's convention: with a file URI both streams go to stdout's path.
            shared = paths.stdout if paths.stdout.startswith("file:") and paths.stderr else paths.stderr
            opened.append(self._open_output("stdout", paths.stdout))
            opened.append(self._open_output("stderr", shared))
        except BaseException:
            _close_all(opened)
            self.close()
            raise
        self.child = (opened[0], opened[1], opened[2])

    def forked(self) -> None:
        """Close the child's ends, once it has its copies: an end left here would be open for ever."""
        _close_all(self.child)
        self.child = (-1, -1, -1)

    def close_stdin(self) -> None:
        """CloseIO: let the guest see the end of its input once the client has closed too."""
        if self._stdin_writer >= 0:
            os.close(self._stdin_writer)
            self._stdin_writer = -1

    def finish(self) -> None:
        """The process is gone: let readers see the end, after the last byte.

        What nobody reads yet is held, in the background, until somebody does or `close`.
        """
        self.close_stdin()
        self._outputs = [output for output in self._outputs if not output.released()]
        self._lingering += [asyncio.ensure_future(output.linger()) for output in self._outputs]

    def close(self) -> None:
        """Close everything now; bytes that nobody has read are lost."""
        self.forked()
        self.close_stdin()
        for task in self._lingering:
            task.cancel()
        for output in self._outputs:
            output.close()
        self._outputs.clear()

    def _open_stdin(self, path: str) -> int:
        if not path:
            return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        fd = _open("stdin", _checked("stdin", path, path), os.O_RDONLY)
        try:
            if stat.S_ISFIFO(os.fstat(fd).st_mode):
                # Until CloseIO the daemon is a writer too. Else a client that detaches, or
                # has not come yet, would be an end of file.
                self._stdin_writer = _reopen(fd, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            os.close(fd)
            raise
        return _blocking(fd)

    def _open_output(self, name: str, uri: str) -> int:
        if not uri:
            return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        path = _path(name, uri)
        flags = os.O_WRONLY | os.O_APPEND
        if uri != path:
            _make_parent(name, path)
            flags |= os.O_CREAT
        if not _is_fifo(path):
            return _blocking(_open(name, path, flags))
        reader = _open(name, path, os.O_RDONLY)
        self._outputs.append(_Output(reader))
        return _blocking(_reopen(reader, os.O_WRONLY | os.O_NONBLOCK))


class _Output:
    """The daemon's end of one output FIFO."""

    def __init__(self, reader: int) -> None:
        self._reader = reader
        self._writer = -1

    def released(self) -> bool:
        """Let go of the FIFO if a reader has it open; else keep its bytes and return False."""
        # Our writing end keeps the bytes while we look: with no end open they were gone.
        self._writer = _reopen(self._reader, os.O_WRONLY | os.O_NONBLOCK)
        os.close(self._reader)
        self._reader = -1
        return self._read_by_somebody()

    async def linger(self) -> None:
        """Look again and again until a reader has come; then let go."""
        tries = 0
        try:
            while not self._read_by_somebody():
                await asyncio.sleep(_LINGER_SECONDS[min(tries, len(_LINGER_SECONDS) - 1)])
                tries += 1
        finally:
            self.close()

    def close(self) -> None:
        for fd in (self._reader, self._writer):
            if fd >= 0:
                os.close(fd)
        self._reader = self._writer = -1

    def _read_by_somebody(self) -> bool:
        try:
            os.close(_reopen(self._writer, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            if error.errno == errno.ENXIO:  # fifo(7): no reader
                return False
            raise
        self.close()
        return True


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
        return False  # opening it tells the reason


def _open(name: str, path: str, flags: int) -> int:
    try:
        # O_NONBLOCK: opening a FIFO would wait for the other end, and with it all containers.
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
    code, _ = to_status(error)
    return from_status(code, f"{name} {path!r}: {error.strerror}")


def _reopen(fd: int, flags: int) -> int:
    """Open the same FIFO again, though its path may be gone by now."""
    return os.open(f"/proc/self/fd/{fd}", flags | os.O_CLOEXEC)


def _blocking(fd: int) -> int:
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    fcntl.fcntl(fd, fcntl.F_SETFL, flags & ~os.O_NONBLOCK)
    return fd


def _close_all(fds: tuple[int, ...] | list[int]) -> None:
    for fd in fds:
        if fd >= 0:
            os.close(fd)
