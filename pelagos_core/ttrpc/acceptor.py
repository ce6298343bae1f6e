"""Accepts the connections of a listening socket on asyncio, up to a limit at a time.

asyncio's own servers have no limit: when no descriptor is free, they log an error and set a timer for each connection
in the backlog, and each timer repeats that.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import socket
from collections.abc import Callable

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
_MOST = 4096  # containerd has one connection for each container; an idle one takes about 5 KiB
_AT_ONCE = 64  # accepted in one step of the event loop
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def most() -> int:
    """The maximum of connections of this process: half of its descriptors, at most _MOST."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if descriptors == resource.RLIM_INFINITY else min(_MOST, descriptors // 2)


class Acceptor:
    """Accepts on a listener, in the running event loop, until it is closed.

    At the limit no client is refused: a new one waits in the listener's backlog until a connection has ended.
    """

    def __init__(self, listener: socket.socket, protocol: Callable[[], asyncio.Protocol], limit: int) -> None:
        """listener: listening; closed by `close`. protocol: called for each connection, returns its protocol.

        limit: maximum of connections at a time. The caller must call `left` at the end of each connection.
        """
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._protocol = protocol
        self._limit = limit
        self._open = 0
        self._has_warned = False
        self._joining: set[asyncio.Task[None]] = set()
        self._retry: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        self._resume()

    def left(self) -> None:
        """Record that a connection has ended."""
        self._open -= 1
        if self._open < self._limit // 2:
            self._has_warned = False
        if self._open == self._limit - 1 and self._retry is None:
            self._resume()

    def close(self) -> None:
        """Close the listener; open connections are not affected."""
        self._pause()
        if self._retry:
            self._retry.cancel()
        self._listener.close()

    def _resume(self) -> None:
        self._retry = None
        if self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener, self._accept)

    def _pause(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            if self._open >= self._limit:
                self._wait_for_room()
                return
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return  # an aborted connection is removed from the backlog; for others epoll reports the listener again
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                self._wait_for_descriptors(error)
                return
            self._open += 1
            task = self._loop.create_task(self._join(connection))
            self._joining.add(task)
            task.add_done_callback(self._joining.discard)

    def _wait_for_room(self) -> None:
        self._pause()
        if not self._has_warned:  # logged once, not for each connection at the limit
            self._has_warned = True
            log.warning("%d connections: new ones wait until one of them ends", self._open)

    def _wait_for_descriptors(self, error: OSError) -> None:
        self._pause()
        self._retry = self._loop.call_later(RETRY_SECONDS, self._resume)
        log.warning("no connection can be accepted for %g s: %s", RETRY_SECONDS, error.strerror)

    async def _join(self, connection: socket.socket) -> None:
        await self._loop.connect_accepted_socket(self._protocol, connection)
