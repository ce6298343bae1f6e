"""A pseudo-terminal, and the copying between it and a process' streams.

The process has the slave as its controlling terminal. Source: pty(7), ioctl_tty(2).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import termios

from pelagos_core.task.streams.relay import Relay

_MAX_SIZE = 0xFFFF
# A session without input is hung up once it has been silent for so long: what it writes after that
# is lost, and the kernel does not tell whether it is about to write or waits for input.
_SILENT_SECONDS = 1.0


class Console:
    """One pseudo-terminal: of the host, or one that is adopted.

    slave: the process' end; -1 once it was handed over.
    """

    def __init__(self, source: int, target: int, uid: int | None) -> None:
        """source: the client's input, -1 for none; target: where the output goes.

        Both stay their owner's, and are made non-blocking. uid: the host's id of the user who
        runs in the terminal, and may open it; None leaves it to the daemon's.
        """
        self._source = source
        self._target = target
        self._master, self.slave = os.openpty()
        if uid is not None:
            os.fchown(self.slave, uid, -1)
        self._size = (0, 0)
        self._drained = asyncio.Event()
        self._relays: list[Relay] = []
        self._runs = False
        self._input_is_over = False
        self._silence: asyncio.TimerHandle | None = None

    def adopt(self, master: int) -> None:
        """Use another terminal, by its master; the process has its slave already.

        Before `handed_over`. The first one stays open for the process: it may be asked for again.
        """
        os.close(self._master)
        self._master = master
        self.resize(*self._size)

    def handed_over(self) -> None:
        """The process has its copies of the slave: start copying."""
        if self.slave < 0:
            return
        os.close(self.slave)
        self.slave = -1
        pairs = [(self._master, self._target, self._drained.set)]
        if self._source >= 0:
            pairs.append((self._source, self._master, self._end_of_input))
        for fd in (self._master, *([self._source] if self._source >= 0 else []), self._target):
            os.set_blocking(fd, False)
        self._relays = [Relay(*pair) for pair in pairs]
        for relay in self._relays:
            relay.start()

    def started(self) -> None:
        """The session runs from now on: what it has to say can be waited for."""
        self._runs = True
        self._wait_for_silence()

    def _end_of_input(self) -> None:
        """The client has left for good: the session is to be hung up, as by a modem.

        But a program that only prints goes on for as long as it does, and every byte of it is
        the client's, which may be slow to read. Hanging up at once would drop what the terminal
        and the relay hold, also after the program's end.
        """
        self._input_is_over = True
        self._wait_for_silence()

    def _wait_for_silence(self) -> None:
        if self._runs and self._input_is_over and not self._drained.is_set():
            loop = asyncio.get_running_loop()
            self._silence = loop.call_later(_SILENT_SECONDS, self._look, self.taken)

    def _look(self, taken: int) -> None:
        """Hang up, unless the session has written since so many bytes, or its client has not taken all."""
        self.pump()
        if self._relays[0].is_held_up or self.taken != taken:
            self._wait_for_silence()
        else:
            self.hang_up()

    def resize(self, width: int, height: int) -> None:
        """Set the size in characters; the kernel tells the foreground processes by SIGWINCH."""
        self._size = (min(width, _MAX_SIZE), min(height, _MAX_SIZE))
        if self._master >= 0:
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", *reversed(self._size), 0, 0))

    @property
    def taken(self) -> int:
        """How many bytes of the session's output its client has taken."""
        return self._relays[0].taken if self._relays else 0

    def pump(self) -> None:
        """Copy what the session has written and can be taken now."""
        if self._relays:
            self._relays[0].pump()

    def hang_up(self) -> None:
        """Close the master: the session gets SIGHUP, and what it has written and was not taken is lost."""
        if self._silence:
            self._silence.cancel()
        for relay in self._relays:
            relay.stop()
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
