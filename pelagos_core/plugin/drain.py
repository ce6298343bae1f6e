"""The graceful end of an engine's program that serves HTTP/1.1: no request that has come is lost, and then it ends.

A process of its own, which the daemon forks at the signal, sees to it. It looks at the program's sockets from outside:

1. No new connection is begun, and those in the queue are accepted.
2. For a while the connections that there are go on being served. One that is idle is closed for reading, upon
   which an HTTP server ends it: after some time without a byte, or in the first gap after an answer if several
   requests have come on it by then.
3. One on which requests still come without a gap is closed in the same way. A client sees that it was closed before
   an answer, and may repeat the request on another connection (RFC 9112, section 9.3.1).
4. The program gets the signal at which it lets requests in flight end, and ends. Its listening socket is closed: who
   comes now is refused.

A request is in flight if the last byte was the peer's, and not the program's. So an answer that pauses
for _IDLE_SECONDS is cut. The end of the grace period is SIGKILL for the container, as ever.
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

_LOOK_SECONDS = 0.02  # between two looks at the connections
_QUEUE_SECONDS = 1.0  # for the program to accept what is in the queue
_SERVED_SECONDS = 3.0  # in which connections go on being served: load balancers learn meanwhile that it leaves
_IDLE_SECONDS = 2.0  # without a byte, after which a connection is idle whose last byte was an answer's
_SEVERAL = 2  # requests on a connection, after which a gap means that it is idle
_UNSURE_SECONDS = 5.0  # the same, if the kernel's clock does not tell which byte was the last
_REFUSE_SECONDS = 1.0  # for the program to act on the signal, before its listening socket is closed
_SLOWER, _SLOWEST_SECONDS = 1.1, 1.0  # after the signal: how much later each look is, up to one in a second
_MOST_SECONDS = 3600.0  # after the signal; a request that has not ended by then is left to SIGKILL


class Drains:
    """The servers of a daemon that are ending gracefully. On its event loop."""

    def __init__(self) -> None:
        self._ending: weakref.WeakSet[RunningProcess] = weakref.WeakSet()
        self._tasks: set[asyncio.Task[object]] = set()

    def are_by_init(self, process: RunningProcess) -> bool:
        """Whether its init process holds the listening socket (`scale_to_zero`): it acts on SIGTERM then."""
        return process_stat.catches(process.pid, signal.SIGTERM)

    def tell(self, process: RunningProcess) -> bool:
        """Have its init process end a server gracefully, once; returns whether this was the first time."""
        if process in self._ending:
            return False
        self._ending.add(process)
        signal.pidfd_send_signal(process.pidfd, signal.SIGTERM)
        return True

    def begin(self, process: RunningProcess, engine: int, signum: int) -> bool:
        """Begin to end a server, once; returns whether this was the first time.

        engine: the pid of its program, a child of `process`. signum: the signal at which it ends gracefully.
        """
        if process in self._ending:
            return False
        self._ending.add(process)
        try:
            pidfd = open_child(engine, process.pid)
        except OSError:
            return False  # it is ending already
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
    """In the process of its own. It ends with the program, with the daemon, or when nothing is left to do."""
    credentials.die_with_parent(signal.SIGKILL)
    signal.set_wakeup_fd(-1)
    own = os.dup2(pidfd, _own_number(pidfd))
    # The daemon's descriptors are not kept open: at the other ends their end is waited for.
    os.closerange(0, own)
    syscalls.close_range(own + 1)
    program = _Program(engine, own)
    try:
        program.leave()
    except OSError:  # it may not be looked into, or has ended
        program.signal(signum)
        return
    program.signal(signum)
    program.refuse()


def _own_number(pidfd: int) -> int:
    return max(3, pidfd)


class _Program:
    """A program that serves, while it is drained."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self._pid = pid
        self._pidfd = pidfd
        self._seen: dict[str, _Seen] = {}
        self._poll = select.poll()
        self._poll.register(pidfd, select.POLLIN)

    def signal(self, signum: int) -> None:
        """Send it a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signum)

    def leave(self) -> None:
        """Let no new connection begin, and those that there are end. Raises OSError."""
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
        """After the signal: close the listening sockets, and connections as they get idle, until it has ended.

        A request may never end, and SIGKILL never come. So it looks ever more seldom, and not without an end.
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
        """Close idle connections for reading; how many there are that are not closed yet."""
        now = time.monotonic()
        seen = dict[str, _Seen]()
        for name, copy, connection in sockets.connections():
            seen[name] = self._seen.get(name, _Seen(connection, now)).then(connection, now)
            if seen[name].is_idle(now):
                _close(copy)
        self._seen = seen
        return len(seen)

    def _close_busy(self, sockets: tcp.Sockets) -> None:
        """Close the connections on which several requests have come and were answered."""
        for name, copy, _ in sockets.connections():
            if name in self._seen and self._seen[name].has_several:
                _close(copy)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A connection, as it was at the last look.

    since: of the last byte. requests, answers: at how many looks there was more from the peer, and to it.
    """

    connection: tcp.Connection
    since: float
    requests: int = 0
    answers: int = 0

    @property
    def has_several(self) -> bool:
        return min(self.requests, self.answers) >= _SEVERAL

    def then(self, connection: tcp.Connection, now: float) -> _Seen:
        """As it is at the next look."""
        requests = self.requests + (connection.received > self.connection.received)
        answers = self.answers + (connection.sent > self.connection.sent)
        is_quiet = (requests, answers) == (self.requests, self.answers)
        return _Seen(connection, self.since if is_quiet else now, requests, answers)

    def is_idle(self, now: float) -> bool:
        """Whether no request is in flight on it."""
        last = self.connection
        if last.pending or last.since_received < last.since_sent:
            return False  # the peer's byte was the last one: it waits for the answer
        is_sure = last.since_sent < last.since_received or not last.received
        if is_sure and self.has_several:
            return now > self.since
        return now - self.since >= (_IDLE_SECONDS if is_sure else _UNSURE_SECONDS)


def _close(copy: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the peer was faster
        copy.shutdown(socket.SHUT_RD)
