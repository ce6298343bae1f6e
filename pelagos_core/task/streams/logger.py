"""A logging program for a process' output: `binary:///path?key=value` as its stdout.

containerd's protocol (its runtime v2 documentation, "Logging"): the program reads stdout from its
descriptor 3 and stderr from 4, and reports that it is ready by a byte on 5, or by closing 5. Its
arguments are the query's keys and values; its environment holds the container's id and namespace.

The output passes through the daemon, so that the daemon detects a logger that has stopped reading:
a logger that hangs or has ended does not block the process for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import signal
from urllib.parse import parse_qsl, unquote, urlsplit

from pelagos_core.errors import DeadlineExceeded, InvalidArgument, NotFound, PelagosError, code_of, from_fields
from pelagos_core.linux.child import Child
from pelagos_core.linux.pidfd import readable
from pelagos_core.task.streams.relay import Relay
from pelagos_core.task.streams.stream import Output

log = logging.getLogger(__name__)

READY_SECONDS = 10.0
STALL_SECONDS = 30.0
EOF_SECONDS = 2.0  # for the logger to exit after the end of its input
TERM_SECONDS = 12.0  # between SIGTERM and SIGKILL, as in containerd's own shim
_EXIT_SECONDS = 0.01  # between the close of a process' descriptors and its exit
_FIRST_FREE = 10  # above the numbers of the descriptors that the program expects


class LoggerOutput(Output):
    """One of a logger's two streams: a pipe from the process, relayed to a pipe of the program.

    end: the program's reading end, until `spawned`.
    """

    def __init__(self) -> None:
        self._source, writer = os.pipe()
        self.end, self._target = os.pipe()
        super().__init__(writer)
        for fd in (self._source, self._target):
            os.set_blocking(fd, False)
        self.relay = Relay(self._source, self._target, self._ended)

    def handed_over(self) -> None:
        """Close the writing end, and begin to relay."""
        if self.fd >= 0:
            super().handed_over()
            self.relay.start()

    def finish(self) -> bool:
        """Close the writing end: the program reads end of file after the last byte."""
        self.handed_over()
        self.relay.pump()
        return True

    def insert(self, text: bytes) -> None:
        """Write to the program beside the process' output, without waiting. Ignored if the pipe is full or closed."""
        if self._target >= 0:
            with contextlib.suppress(OSError):
                os.write(self._target, text)

    def spawned(self) -> None:
        """Close `end`, of which the program has a copy."""
        if self.end >= 0:
            os.close(self.end)
            self.end = -1

    def close(self) -> None:
        """Close everything now."""
        self._ended()
        super().handed_over()
        self.spawned()

    def _ended(self) -> None:
        self.relay.stop()
        if self._target >= 0:
            os.close(self._source)
            os.close(self._target)
            self._source = self._target = -1


class Logger:
    """One running logger, from its start to its reaping."""

    def __init__(self, uri: str, container_id: str, namespace: str) -> None:
        """Start the program. Raises NotFound or InvalidArgument that names it."""
        self.path, arguments = _command(uri)
        self.outputs = (LoggerOutput(), LoggerOutput())
        self._ready, ready = os.pipe()
        environment = {"CONTAINER_ID": container_id, "CONTAINER_NAMESPACE": namespace}
        ends = (*(output.end for output in self.outputs), ready)
        try:
            self._child = _spawn([self.path, *arguments], environment, ends)
        except OSError as error:
            self._close()
            raise _named(self.path, error) from None
        finally:
            os.close(ready)
        for output in self.outputs:
            output.spawned()
        self._gone = asyncio.ensure_future(self._reap())
        self._watcher = asyncio.ensure_future(self._watch())

    async def ready(self) -> None:
        """Wait until the program has reported that it is ready.

        Raises DeadlineExceeded after READY_SECONDS, InvalidArgument if it has ended before.
        """
        # A duplicate: `close` may run meanwhile, and a descriptor must not be closed while the loop watches it.
        reader = os.dup(self._ready)
        try:
            await asyncio.wait_for(readable(reader), READY_SECONDS)
            byte = os.read(reader, 1)
        except asyncio.TimeoutError:
            raise DeadlineExceeded(f"logger {self.path!r}: not ready after {READY_SECONDS:g} s") from None
        finally:
            os.close(reader)
        self._close_ready()
        if not byte:  # end of file: the program is ready, or has ended
            await asyncio.wait({self._gone}, timeout=_EXIT_SECONDS)
        if self._gone.done():
            raise InvalidArgument(f"logger {self.path!r}: ended with code {self._gone.result()} before it was ready")

    async def end(self) -> None:
        """Wait until the program has exited. Sends SIGTERM after EOF_SECONDS, and SIGKILL after TERM_SECONDS more."""
        for seconds, signum in ((EOF_SECONDS, signal.SIGTERM), (TERM_SECONDS, signal.SIGKILL)):
            await asyncio.wait({self._gone}, timeout=seconds)
            if not self._gone.done():
                log.warning("logger %r: does not exit: %s", self.path, signal.Signals(signum).name)
                self._signal(signum)
        await asyncio.wait({self._gone})
        self._watcher.cancel()
        self._close()

    def close(self) -> None:
        """Kill the program now; it is reaped in the background."""
        self._signal(signal.SIGKILL)
        self._watcher.cancel()
        self._close()

    async def _reap(self) -> int:
        with self._child:
            return (await self._child.ended()).si_status

    async def _watch(self) -> None:
        """Kill a logger that has not read pending output for STALL_SECONDS."""
        while True:
            before = [output.relay.written for output in self.outputs]
            await asyncio.sleep(STALL_SECONDS)
            for output, written in zip(self.outputs, before, strict=True):
                if output.relay.is_held_up and output.relay.written == written:
                    log.error("logger %r: has read nothing for %g s, it is killed", self.path, STALL_SECONDS)
                    self._signal(signal.SIGKILL)
                    output.relay.discard()  # a child of the logger may keep the pipe open

    def _signal(self, signum: int) -> None:
        """Send a signal to the program's process group, which includes its children."""
        self._child.signal(signum, group=True)

    def _close_ready(self) -> None:
        if self._ready >= 0:
            os.close(self._ready)
            self._ready = -1

    def _close(self) -> None:
        self._close_ready()
        for output in self.outputs:
            output.close()


def _command(uri: str) -> tuple[str, list[str]]:
    """The program's path and arguments: a key without a value gives one argument."""
    parts = urlsplit(uri)
    path = unquote(parts.path)
    pairs: dict[str, str] = {}
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        pairs.setdefault(key, value)
    words = [word for pair in pairs.items() for word in pair if word]
    if parts.netloc or not path.startswith("/") or any("\0" in word for word in (path, *words)):
        raise InvalidArgument(f"stdout {uri!r}: not the URI of a program, such as binary:///usr/bin/logger?key=value")
    return path, words


def _spawn(words: list[str], environment: dict[str, str], ends: tuple[int, ...]) -> Child:
    # Duplicated above their final numbers first: else one could be overwritten before it is copied.
    copies = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE) for fd in ends]
    null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    moved = [(os.POSIX_SPAWN_DUP2, copy, 3 + place) for place, copy in enumerate(copies)]
    # The daemon may have inherited descriptors without FD_CLOEXEC.
    closed = [(os.POSIX_SPAWN_CLOSE, fd) for fd in _inheritable() if fd >= 3 + len(ends)]
    defaults = [signal.SIGPIPE, signal.SIGTERM, signal.SIGINT]
    actions = [*null, *moved, *closed]
    try:
        # posix_spawn, not child.execute: a fork would copy pages that the daemon shares with the zygote.
        pid = os.posix_spawn(
            words[0], words, environment, file_actions=actions, setsid=True, setsigdef=defaults, setsigmask=[]
        )
        return Child.watched(pid)
    finally:
        for copy in copies:
            os.close(copy)


def _inheritable() -> list[int]:
    found = []
    for fd in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):  # the descriptor of the listing itself is closed already
            if os.get_inheritable(fd):
                found.append(fd)
    return found


def _named(path: str, error: OSError) -> PelagosError:
    if error.errno == errno.ENOENT:
        return NotFound(f"logger {path!r} does not exist")
    code = code_of(error)
    return from_fields(code, f"logger {path!r}: {error.strerror}")
