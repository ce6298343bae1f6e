"""Init processes that are forked before they are asked for: as many as are likely to be needed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections import deque
from dataclasses import dataclass

from pelagos_core import builtin_hooks
from pelagos_core.backends import Backends
from pelagos_core.container_init import nursery
from pelagos_core.container_init.child import Order
from pelagos_core.container_init.nursery import ANOTHER, MAX_ORDER, PID_BYTES
from pelagos_core.exit_status import ExitStatus

log = logging.getLogger(__name__)

_READY = 2  # while containers come; a pod that has one only is forked one spare
_IDLE_SECONDS = 5.0  # then nobody is coming, and memory counts
_WAIT_SECONDS = 0.2  # for one that is being forked


@dataclass
class Spare:
    """A process that waits for its order."""

    pid: int
    pidfd: int
    control: socket.socket
    termination_signal: int = 0

    def obey(self, order: Order) -> bool:
        """Send the order. False if the process is gone, or the order is too long for it."""
        try:
            data = nursery.encode(order)
            if len(data) > MAX_ORDER:
                return False
            socket.send_fds(self.control, [data], order.stdio)
        except OSError:
            return False
        return True

    async def end(self) -> ExitStatus:
        """Kill and reap it."""
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        self.control.close()
        try:
            return await builtin_hooks.pelagos_wait(self)
        finally:
            os.close(self.pidfd)


class Spares:
    """The nursery and what it has forked. In the daemon."""

    def __init__(self) -> None:
        self._backends: Backends | None = None
        self._nursery: socket.socket | None = None
        self._pid = 0
        self._ready: deque[Spare] = deque()
        self._coming = 0
        self._taken = 0
        self._idle: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[ExitStatus]] = set()

    def start(self, backends: Backends) -> None:
        """Fork the nursery, which has these backends, and have it fork a spare.

        The earlier the better: it and all containers share what nobody has written to since.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            return
        if pid == 0:
            nursery.run(backends, theirs)
        theirs.close()
        ours.settimeout(_WAIT_SECONDS)
        self._nursery, self._pid, self._backends = ours, pid, backends
        self._ask_for(1)

    def take(self, backends: Backends) -> Spare | None:
        """A spare that has these backends; None if there is none, and the daemon is to fork itself."""
        if self._nursery is None or backends is not self._backends:
            self._renew(backends)
        while self._coming and not self._ready:
            self._receive()
        self._taken += 1
        spare = self._ready.popleft() if self._ready else None
        if self._taken > 1:
            self._ask_for(_READY - len(self._ready) - self._coming)
        self._await_idleness()
        return spare

    def give_up(self, spare: Spare) -> None:
        """End one that was taken, or is not wanted any more."""
        task = asyncio.ensure_future(spare.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def close(self) -> None:
        """End the nursery and what nobody has taken."""
        if self._idle:
            self._idle.cancel()
        self._end_all()
        if self._nursery is not None:
            self._lose("is not needed any more")

    def _ask_for(self, number: int) -> None:
        for _ in range(number):
            if self._nursery is None:
                return
            try:
                self._nursery.send(ANOTHER)
                self._coming += 1
            except OSError:
                self._lose("is gone")

    def _receive(self) -> None:
        """Take in one spare that is being forked."""
        assert self._nursery is not None
        try:
            there = self._take_in(self._nursery)
        except OSError:
            self._lose("does not answer")
            return
        if not there:
            self._lose("has ended")

    def _take_in(self, nursery: socket.socket) -> bool:
        """Take in one spare that was forked; False if the nursery has ended. Raises OSError if none comes."""
        data, fds, _, _ = socket.recv_fds(nursery, PID_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
        if not data:
            return False
        self._coming -= 1
        pid, control = int.from_bytes(data, "little"), socket.socket(fileno=fds[0]) if fds else None
        try:
            if control is not None:
                control.setblocking(False)
                # It is our child, whoever has called clone(2), and only we reap.
                self._ready.append(Spare(pid, os.pidfd_open(pid), control))
                return True
        except OSError:
            assert control is not None
            control.close()
        # No descriptor is left, for the pidfd or for what came with the message.
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return True

    def _renew(self, backends: Backends) -> None:
        """Another nursery, which has what is installed now."""
        self._end_all()
        if self._nursery is not None:
            self._lose("has other backends")
        self.start(backends)

    def _lose(self, why: str) -> None:
        log.debug("nursery: it %s", why)
        assert self._nursery is not None
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self._pid, signal.SIGKILL)  # our own child, not reaped yet
            os.waitpid(self._pid, 0)
        nursery, self._nursery, known = self._nursery, None, len(self._ready)
        with nursery, contextlib.suppress(OSError):
            # What it has forked is our child, and waits to be reaped whether it is wanted or not.
            nursery.setblocking(False)
            while self._take_in(nursery):
                pass
        while len(self._ready) > known:
            self.give_up(self._ready.pop())
        self._coming = 0

    def _await_idleness(self) -> None:
        if self._idle:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._end_all)

    def _end_all(self) -> None:
        while self._coming:
            self._receive()
        while self._ready:
            self.give_up(self._ready.pop())
