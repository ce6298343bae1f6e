"""The daemon's end of the control socket of a process: the start message, terminal keys, memory refusals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable

from pelagos_core import reasons
from pelagos_core.errors import PelagosError, with_reason
from pelagos_core.isolation import terminal
from pelagos_core.launch import messages
from pelagos_core.launch.messages import Refused
from pelagos_core.plugin.limits import refusal

log = logging.getLogger(__name__)

_LAST_WORDS = 16  # datagrams


class Control:
    """The control socket of one process, after its launch. In the daemon, on its event loop.

    Received data is not trusted: a guest that has taken over its engine can send any bytes at any rate.
    """

    def __init__(
        self, name: str, sock: socket.socket, key: Callable[[int], None], refused: Callable[[], None] = lambda: None
    ) -> None:
        """Take over the socket. name: of the process, for the log.

        key: called with the number of a signal whose key was pressed on the process' terminal.
        refused: called once, when the process has been refused memory.
        """
        self._name = name
        self._socket: socket.socket | None = sock
        self._key = key
        self._refused = refused
        self._is_told = False
        self._listens = False

    def go(self, *, listens: bool) -> None:
        """Start the workload. listens: whether to read messages of the process; else the socket is closed.

        Raises OSError if the process has ended.
        """
        assert self._socket is not None
        self._socket.send(messages.GO)
        if listens:
            self._listens = True
            asyncio.get_running_loop().add_reader(self._socket, self._hear)
        else:
            self.close()

    def drain(self) -> None:
        """Read the remaining datagrams of a process that is reaped, and close the socket."""
        for _ in range(_LAST_WORDS):  # bounded: a process that the engine has forked could go on sending
            if not self._hear():
                break
        self.close()

    def close(self) -> None:
        """Close the socket. A second call does nothing."""
        if self._socket is not None:
            if self._listens:
                asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _hear(self) -> bool:
        """Read one datagram: a key of the terminal, or a refusal of memory. Returns whether there was one."""
        if self._socket is None:
            return False
        try:
            said = self._socket.recv(messages.MAX_BYTES)
        except BlockingIOError:
            return False
        except ConnectionError:
            said = b""
        if not said:
            self.close()
        elif len(said) > 1:
            self._hear_refusal(said)
        elif said[0] in terminal.SIGNALS:
            self._key(said[0])
        return bool(said)

    def _hear_refusal(self, datagram: bytes) -> None:
        """Log the first refusal of memory."""
        with contextlib.suppress(PelagosError):
            message = messages.decode(datagram)
            if isinstance(message, Refused) and not self._is_told:
                self._is_told = True
                text = f"{self._name}: {refusal(message.asked, message.limit)}"
                log.warning("%s", with_reason(text, reasons.MEMORY))
                self._refused()
