"""Graceful shutdown of an engine's program that serves HTTP/1.1: requests that have arrived are answered first.

The daemon forks a separate process for it when the signal arrives. This process watches the program's sockets from
outside:

1. The listening socket refuses new connections; the program accepts those that are in its queue.
2. For _SERVED_SECONDS, existing connections are served. An idle connection is shut down for reading, upon which an
   HTTP server closes it. A connection is idle after _IDLE_SECONDS without a byte; if it has carried several
   requests, at the first pause after an answer.
3. Connections that still carry requests without a pause are shut down in the same way. The client sees the
   connection close before an answer, and may repeat the request on another one (RFC 9112, section 9.3.1).
4. The program gets the signal at which it completes requests in flight and exits. Its listening socket is closed:
   further connections are refused.

A request is in flight if the peer has sent the last byte. So an answer that pauses for _IDLE_SECONDS is cut.
When the grace period ends, the container gets SIGKILL as usual.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import time
import weakref
from dataclasses import dataclass

from pelagos_core.linux import child, credentials, process_stat, syscalls, tcp
from pelagos_core.linux.child import Child
from pelagos_core.linux.pidfd import open_child
from pelagos_core.plugin.hookspecs import RunningProcess

_LOOK_SECONDS = 0.02  # between two checks of the connections
_QUEUE_SECONDS = 1.0  # for the program to accept the connections in its queue
_SERVED_SECONDS = 3.0  # for which connections are still served: load balancers need time to remove the server
_IDLE_SECONDS = 2.0  # without a byte, after which a connection is idle if the program has sent the last byte
_SEVERAL = 2  # requests on a connection, after which a pause means that it is idle
_UNSURE_SECONDS = 5.0  # like _IDLE_SECONDS, if the kernel's times do not show which side sent the last byte
_REFUSE_SECONDS = 1.0  # for the program to act on the signal, before its listening socket is closed
_SLOWER, _SLOWEST_SECONDS = 1.1, 1.0  # after the signal: factor between two pauses, and the longest pause
_MOST_SECONDS = 3600.0  # after the signal, the longest wait; SIGKILL ends requests that take longer


class Drains:
    """The servers of a daemon that are shutting down gracefully. Used on the daemon's event loop."""

    def __init__(self) -> None:
        self._ending: weakref.WeakSet[RunningProcess] = weakref.WeakSet()
        self._tasks: set[asyncio.Task[object]] = set()

    def are_by_init(self, process: RunningProcess) -> bool:
        """Whether the init process holds the listening socket (`scale_to_zero`) and so handles SIGTERM itself."""
        return process_stat.catches(process.pid, signal.SIGTERM)

    def tell(self, process: RunningProcess) -> bool:
        """Send SIGTERM to an init process that shuts its server down itself; only once.

        Returns whether this was the first call for `process`. Raises ProcessLookupError if it has been reaped.
        """
        if process in self._ending:
            return False
        self._ending.add(process)
        signal.pidfd_send_signal(process.pidfd, signal.SIGTERM)
        return True

    def begin(self, process: RunningProcess, engine: int, signum: int) -> bool:
        """Start the graceful shutdown of a server; only once.

        engine: the pid of its program, a child of `process`.
        signum: the signal at which the program completes its requests and exits.
        Returns whether the shutdown was started by this call.
        """
        if process in self._ending:
            return False
        self._ending.add(process)
        try:
            pidfd = open_child(engine, process.pid)
        except OSError:
            return False  # the program has exited
        try:
            drainer = child.fork(lambda: _drain(engine, pidfd, signum))
        finally:
            os.close(pidfd)
        task = asyncio.get_running_loop().create_task(_seen_to(drainer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True


async def _seen_to(drainer: Child) -> None:
    with contextlib.closing(drainer):
        await drainer.ended()


def _drain(engine: int, pidfd: int, signum: int) -> None:
    """Drain the program. Runs in a forked process, which exits with the program, or when the daemon exits."""
    credentials.die_with_parent(signal.SIGKILL)
    signal.set_wakeup_fd(-1)
    own = os.dup2(pidfd, _own_number(pidfd))
    # Close the daemon's descriptors: other processes wait for end of file on them.
    os.closerange(0, own)
    syscalls.close_range(own + 1)
    program = _Program(engine, own)
    try:
        program.leave()
    except OSError:  # its descriptors cannot be read, or it has exited
        program.signal(signum)
        return
    program.signal(signum)
    program.refuse()


def _own_number(pidfd: int) -> int:
    return max(3, pidfd)


class _Program:
    """A program that is being drained."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self._pid = pid
        self._pidfd = pidfd
        self._seen: dict[str, _Seen] = {}
        self._poll = select.poll()
        self._poll.register(pidfd, select.POLLIN)

    def signal(self, signum: int) -> None:
        """Send a signal to the program; no error if it has exited."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signum)

    def leave(self) -> None:
        """Refuse new connections and close existing ones when they are idle (steps 1 to 3). Raises OSError."""
        with contextlib.closing(self._sockets()) as sockets:
            for listener in sockets.listeners():
                syscalls.refuse_connections(listener.fileno())
            deadline = time.monotonic() + _QUEUE_SECONDS
            while any(tcp.queue(each) for each in sockets.listeners()) and time.monotonic() < deadline:
                if self._has_ended(_LOOK_SECONDS):
                    return
            deadline = time.monotonic() + _SERVED_SECONDS
            while self._close_idle(sockets) and time.monotonic() < deadline:
                if self._has_ended(_LOOK_SECONDS):
                    return
            self._close_busy(sockets)

    def refuse(self) -> None:
        """After the signal: close the listening sockets, and connections that become idle, until the program exits.

        A request may never end, and SIGKILL may never be sent. So the pauses grow, and the total time is limited.
        """
        with contextlib.suppress(OSError), contextlib.closing(self._sockets()) as sockets:
            if self._has_ended(_REFUSE_SECONDS):
                return
            for listener in sockets.listeners():
                listener.shutdown(socket.SHUT_RD)
            pause, deadline = _LOOK_SECONDS, time.monotonic() + _MOST_SECONDS
            while time.monotonic() < deadline and not self._has_ended(pause):
                self._close_idle(sockets)
                pause = min(pause * _SLOWER, _SLOWEST_SECONDS)

    def _sockets(self) -> tcp.Sockets:
        return tcp.Sockets(self._pid, self._pidfd)

    def _has_ended(self, seconds: float) -> bool:
        return bool(self._poll.poll(seconds * 1000))

    def _close_idle(self, sockets: tcp.Sockets) -> int:
        """Shut idle connections down for reading; return the number of connections that are still open."""
        now = time.monotonic()
        seen = dict[str, _Seen]()
        for name, copy, connection in sockets.connections():
            seen[name] = self._seen.get(name, _Seen(connection, now)).then(connection, now)
            if seen[name].is_idle(now):
                _close(copy)
        self._seen = seen
        return len(seen)

    def _close_busy(self, sockets: tcp.Sockets) -> None:
        """Shut down the connections on which several requests were answered."""
        for name, copy, _ in sockets.connections():
            if name in self._seen and self._seen[name].has_several:
                _close(copy)


@dataclass(frozen=True, slots=True)
class _Seen:
    """The state of a connection at the last check.

    since: time of the last byte, in monotonic seconds.
    requests, answers: the number of checks at which more bytes had been received, and sent.
    """

    connection: tcp.Connection
    since: float
    requests: int = 0
    answers: int = 0

    @property
    def has_several(self) -> bool:
        return min(self.requests, self.answers) >= _SEVERAL

    def then(self, connection: tcp.Connection, now: float) -> _Seen:
        """The state at the next check, with the connection's new counters."""
        requests = self.requests + (connection.received > self.connection.received)
        answers = self.answers + (connection.sent > self.connection.sent)
        is_quiet = (requests, answers) == (self.requests, self.answers)
        return _Seen(connection, self.since if is_quiet else now, requests, answers)

    def is_idle(self, now: float) -> bool:
        """Whether no request is in flight on it."""
        last = self.connection
        if last.pending or last.since_received < last.since_sent:
            return False  # the peer has sent the last byte: it waits for an answer
        is_sure = last.since_sent < last.since_received or not last.received
        if is_sure and self.has_several:
            return now > self.since
        return now - self.since >= (_IDLE_SECONDS if is_sure else _UNSURE_SECONDS)


def _close(copy: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the peer has closed it already
        copy.shutdown(socket.SHUT_RD)
