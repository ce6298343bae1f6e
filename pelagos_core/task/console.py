"""A pseudo-terminal, and the copying between it and a process' streams.

The process has the slave as its controlling terminal. Everything here runs on the daemon's event
loop and never waits: each direction holds one chunk at the most, and reads on when it was taken.
Source: pty(7), ioctl_tty(2).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import termios
from collections.abc import Callable

_CHUNK = 64 << 10
_MAX_SIZE = 0xFFFF


class Console:
    """One pseudo-terminal of the host.

    slave: the process' end; -1 once it was handed over.
    """

    def __init__(self, source: int, target: int, uid: int) -> None:
        """source: the client's input, -1 for none; target: where the output goes.

        Both stay their owner's, and are made non-blocking. uid: the host's id of the user who
        runs in the terminal, and may open it.
        """
        self._master, self.slave = os.openpty()
        os.set_blocking(self._master, False)
        os.fchown(self.slave, uid, -1)
        self._drained = asyncio.Event()
        os.set_blocking(target, False)
        self._output = _Copy(self._master, target, self._drained.set)
        self._input: _Copy | None = None
        if source >= 0:
            os.set_blocking(source, False)
            self._input = _Copy(source, self._master, self.hang_up)

    def handed_over(self) -> None:
        """The process has its copies of the slave: start copying."""
        if self.slave < 0:
            return
        os.close(self.slave)
        self.slave = -1
        self._output.start()
        if self._input:
            self._input.start()

    def resize(self, width: int, height: int) -> None:
        """Set the size in characters; the kernel tells the foreground processes by SIGWINCH."""
        if self._master >= 0:
            size = struct.pack("HHHH", min(height, _MAX_SIZE), min(width, _MAX_SIZE), 0, 0)
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def pump(self) -> None:
        """Copy what the session has written and can be taken now."""
        self._output.pump()

    def hang_up(self) -> None:
        """The client's input has ended: the session gets SIGHUP, as with a modem that hangs up."""
        if self._input:
            self._input.stop()
        self._output.stop()
        if self._master >= 0:
            os.close(self._master)
            self._master = -1
        self._drained.set()

    async def drained(self) -> None:
        """Return once the session has ended and all that it wrote was taken."""
        await self._drained.wait()

    def close(self) -> None:
        """Close everything now; what was not taken is lost."""
        if self.slave >= 0:
            os.close(self.slave)
            self.slave = -1
        self.hang_up()


class _Copy:
    """One direction."""

    def __init__(self, source: int, target: int, ended: Callable[[], None]) -> None:
        """ended: called once there is nothing left to read, and all was written."""
        self._source = source
        self._target = target
        self._ended = ended
        self._pending = b""
        self._running = False

    def start(self) -> None:
        self._running = True
        self._wait_for_source()

    def stop(self) -> None:
        if self._running:
            self._running = False
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._source)
            loop.remove_writer(self._target)

    def _wait_for_source(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            loop.add_reader(self._source, self._read)
        except PermissionError:  # epoll_ctl(2): a file is always ready
            loop.call_soon(self._read)

    def pump(self) -> None:
        """Copy without waiting, until there is nothing to read or nobody takes it."""
        while self._running and not self._pending and self._read():
            pass

    def _read(self) -> bool:
        """Returns False if there is nothing to read."""
        if not self._running:
            return False
        try:
            self._pending = os.read(self._source, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            self._pending = b""  # EIO: nobody has the slave open any more
        if self._pending:
            self._write()
            return True
        self.stop()
        self._ended()
        return False

    def _write(self) -> None:
        try:
            self._pending = self._pending[os.write(self._target, self._pending) :]
        except BlockingIOError:
            pass
        except OSError:
            self._pending = b""  # nobody will ever take it: a full disk, a terminal that has ended
        loop = asyncio.get_running_loop()
        if self._pending:
            loop.remove_reader(self._source)
            loop.add_writer(self._target, self._write)
        else:
            loop.remove_writer(self._target)
            self._wait_for_source()
