"""Child processes of the calling process: fork, read a report, wait with a deadline, signal, kill, reap.

A pid is not reused before the child is reaped, and only its parent reaps it. So a child that is not reaped can be
killed by its pid without a race. A pidfd (pidfd_open(2)) is needed only to wait for a limited time. It is opened
only then, because an init process may be under a system call filter that refuses pidfd_open(2).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import NoReturn, TypeVar

from pelagos_core.linux import syscalls
from pelagos_core.linux.pidfd import is_readable, readable

_CHUNK_BYTES = 64 << 10
_POLL_SECONDS = 0.01  # between two checks of a child without a pidfd
CANNOT_EXECUTE = 127  # a shell's exit code for a command that is not found
_Self = TypeVar("_Self", bound="Child")


class Child:
    """A child process. As a context manager it calls `close` at the end of the block.

    pid: not reused before the child is reaped.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._pidfd = -1
        self._result: os.waitid_result | None = None

    @classmethod
    def watched(cls: type[_Self], pid: int) -> _Self:
        """A child with an open pidfd. Raises OSError if it cannot be opened; the child is killed and reaped then."""
        child = cls(pid)
        try:
            child.fileno()
        except BaseException:
            child.close()
            raise
        return child

    def fileno(self) -> int:
        """Its pidfd, which is readable when it has ended. The first call opens it. Raises OSError."""
        if self._pidfd < 0:
            self._pidfd = os.pidfd_open(self.pid)
        return self._pidfd

    def wait(self, seconds: float | None = None) -> os.waitid_result | None:
        """Wait for its end and reap it. A second call returns the same result.

        seconds: maximum time to wait; None for no limit. Returns None if the child has not ended by then.
        """
        if seconds is not None and self._result is None and not self._ends_within(seconds):
            return None
        return self.reap()

    def _ends_within(self, seconds: float) -> bool:
        try:
            return is_readable(self.fileno(), seconds)
        except OSError:  # a system call filter refuses pidfd_open(2), or no descriptor is free
            deadline = time.monotonic() + seconds
            while not os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if time.monotonic() >= deadline:
                    return False
                time.sleep(_POLL_SECONDS)
            return True

    def reap(self) -> os.waitid_result:
        """Wait for its end without a time limit, and reap it. A second call returns the same result."""
        if self._result is None:
            self._result = os.waitid(os.P_PID, self.pid, os.WEXITED)
        assert self._result is not None  # waitid(2) without WNOHANG always has a result
        return self._result

    async def ended(self) -> os.waitid_result:
        """Wait for its end on the caller's event loop, and reap it. A cancellation does not affect the child."""
        if self._result is None:
            await readable(self.fileno())
        return self.reap()

    def end(self, grace: float = 0.0) -> os.waitid_result:
        """Kill and reap it. grace: seconds to wait for its own exit before it is killed."""
        if self._result is None and not (grace and self.wait(grace)):
            os.kill(self.pid, signal.SIGKILL)
        return self.reap()

    def signal(self, signum: int, *, group: bool = False) -> None:
        """Send a signal, unless it is reaped. group: to its process group, whose leader it must be."""
        if self._result is None:
            with contextlib.suppress(ProcessLookupError):  # no process is left in the group
                (os.killpg if group else os.kill)(self.pid, signum)

    def close(self) -> None:
        """Kill and reap it, unless it is reaped, and close its descriptors."""
        try:
            self.end()
        finally:
            self._close_descriptors()

    def release(self) -> int:
        """Close the descriptors, and return the pid: the caller must reap the process."""
        self._close_descriptors()
        return self.pid

    def _close_descriptors(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ReportingChild(Child):
    """A child that reports on a pipe."""

    def __init__(self, pid: int, reader: int) -> None:
        """reader: the reading end of the pipe; this object closes it."""
        super().__init__(pid)
        self._reader = reader

    def read(self, seconds: float | None = None) -> bytes | None:
        """Read the next bytes of the report; empty if the child has closed the pipe or has ended.

        seconds: maximum time to wait; None for no limit. Returns None if nothing was written by then.
        """
        if seconds is not None and not is_readable(self._reader, seconds):
            return None
        return os.read(self._reader, _CHUNK_BYTES)

    def read_all(self, most: int, seconds: float | None = None) -> bytes | None:
        """Read the report until the child closes the pipe or ends, or until there are `most` bytes or more.

        seconds: maximum time for all of it. Returns None if that has passed.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        report = b""
        while len(report) < most:
            chunk = self.read(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if chunk is None:
                return None
            if not chunk:
                break
            report += chunk
        return report

    async def read_async(self, seconds: float) -> bytes | None:
        """As `read`, on the caller's event loop."""
        try:
            await asyncio.wait_for(readable(self._reader), seconds)
        except asyncio.TimeoutError:
            return None
        return self.read()

    def _close_descriptors(self) -> None:
        super()._close_descriptors()
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1


def fork(run: Callable[[], int | None], flags: int = 0) -> Child:
    """Fork a child that calls `run` and exits with the code that it returns: 0 for None, 1 if it raises.

    flags: of clone(2), such as CLONE_NEWPID. The calling process must have one thread. Raises OSError.
    """
    pid = syscalls.fork(flags) if flags else os.fork()
    if pid == 0:
        _run(run)
    return Child(pid)


def fork_reporting(run: Callable[[int], int | None], flags: int = 0) -> ReportingChild:
    """As `fork`. run: called with the writing end of a pipe for the report, which is closed on exec."""
    reader, writer = os.pipe()

    def report() -> int | None:
        os.close(reader)
        return run(writer)

    try:
        return ReportingChild(fork(report, flags).pid, reader)
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)


def execute(
    words: list[str],
    environment: Mapping[str, str],
    streams: Mapping[int, int],
    prepare: Callable[[], object] | None = None,
    program: int = -1,
) -> Child:
    """Fork a child that executes the program at the path words[0]. Returns when execve(2) has succeeded.

    streams: descriptors to duplicate: the program's number as key, the caller's as value; others are inherited.
    prepare: called in the child before execve(2). program: a descriptor of the program, instead of the path.
    Raises OSError that names the program.
    """

    def run(failure: int) -> int:
        try:
            for target, source in streams.items():
                os.dup2(source, target)
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and execve(2) keeps ignored signals
            if prepare:
                prepare()
            os.execve(words[0] if program < 0 else program, words, environment)  # noqa: S606 (no shell is the point)
        except OSError as error:
            os.write(failure, f"{error.errno or 0}".encode())
        return CANNOT_EXECUTE

    child = fork_reporting(run)
    try:
        number = child.read_all(_CHUNK_BYTES)  # execve(2) closes the pipe
        if number:
            raise OSError(int(number), os.strerror(int(number)), words[0])
    except BaseException:
        child.close()
        raise
    return Child(child.release())


def _run(run: Callable[[], int | None]) -> NoReturn:
    """In the child: call `run` and exit. Never returns, so the child does not continue the parent's code."""
    code = 1
    try:
        gc.disable()  # the child must not finalise the parent's objects
        code = run() or 0
    finally:
        os._exit(code)
