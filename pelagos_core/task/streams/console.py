"""A pseudo-terminal, and the copying between it and a client's FIFOs.

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
# Seconds without output after which a session without input is hung up. Output after that is lost;
# the kernel does not report whether a program is about to write or waits for input.
_SILENT_SECONDS = 1.0


class Console:
    """One pseudo-terminal: of the host's devpts, or of the container's (`adopt`).

    slave: the process' end; -1 after `handed_over`.
    """

    def __init__(self, source: int, target: int, uid: int | None) -> None:
        """source: descriptor of the client's input, -1 for none. target: descriptor for the output.

        The caller keeps and closes both; they are set to O_NONBLOCK. uid: the host's id of the process' user,
        which becomes the owner of the terminal; None: the daemon's user stays the owner.
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
        """Use another terminal, by its master. The process has opened its slave already.

        Call it before `handed_over`. The first terminal stays open for the process: a repeated launch needs it.
        """
        os.close(self._master)
        self._master = master
        self.resize(*self._size)

    def handed_over(self) -> None:
        """Close the slave, of which the process has copies, and start copying."""
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
        """Record that the process was started: it may write from now on."""
        self._runs = True
        self._wait_for_silence()

    def _end_of_input(self) -> None:
        """Prepare the hang-up of the session after the client has closed its input.

        The hang-up waits for silence: a program that only prints continues, and a slow client gets all of its
        output. An immediate hang-up would drop the bytes in the terminal and in the relay, even after
        the program has ended.
        """
        self._input_is_over = True
        self._wait_for_silence()

    def _wait_for_silence(self) -> None:
        if self._runs and self._input_is_over and not self._drained.is_set():
            loop = asyncio.get_running_loop()
            self._silence = loop.call_later(_SILENT_SECONDS, self._look, self.written)

    def _look(self, written: int) -> None:
        """Hang up, unless the client has read more than `written` bytes by now, or output is pending."""
        self.pump()
        if self._relays[0].is_held_up or self.written != written:
            self._wait_for_silence()
        else:
            self.hang_up()

    def resize(self, width: int, height: int) -> None:
        """Set the size in characters; the kernel sends SIGWINCH to the foreground processes."""
        self._size = (min(width, _MAX_SIZE), min(height, _MAX_SIZE))
        if self._master >= 0:
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", *reversed(self._size), 0, 0))

    @property
    def written(self) -> int:
        """The number of bytes of output that were written to the client."""
        return self._relays[0].written if self._relays else 0

    def pump(self) -> None:
        """Copy pending output without waiting."""
        if self._relays:
            self._relays[0].pump()

    def hang_up(self) -> None:
        """Close the master: the session gets SIGHUP, and output that was not copied is lost."""
        if self._silence:
            self._silence.cancel()
        for relay in self._relays:
            relay.stop()
        if self._master >= 0:
            os.close(self._master)
            self._master = -1
        self._drained.set()

    async def drained(self) -> None:
        """Wait until the session has ended and all of its output is copied."""
        await self._drained.wait()

    def close(self) -> None:
        """Close everything now; output that was not copied is lost."""
        if self.slave >= 0:
            os.close(self.slave)
            self.slave = -1
        self.hang_up()
