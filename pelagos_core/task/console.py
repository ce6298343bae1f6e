"""A pseudo-terminal, and the copying between it and a process' streams.

The process has the slave as its controlling terminal. Source: pty(7), ioctl_tty(2).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import termios

from pelagos_core.task.relay import Relay

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
        self._output = Relay(self._master, target, self._drained.set)
        self._input: Relay | None = None
        if source >= 0:
            os.set_blocking(source, False)
            self._input = Relay(source, self._master, self.hang_up)

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
