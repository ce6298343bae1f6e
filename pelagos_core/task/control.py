"""The daemon's end of a process' control socket: sends the start message, then reads the process' messages."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable

from pelagos_core import reasons
from pelagos_core.errors import DeadlineExceeded, FailedPrecondition, PelagosError, from_fields, with_reason
from pelagos_core.isolation import terminal
from pelagos_core.launch import messages
from pelagos_core.launch.messages import Failed, Listening, Refused
from pelagos_core.plugin.limits import refusal

log = logging.getLogger(__name__)

_LAST_DATAGRAMS = 16
_SERVE_SECONDS = 30.0  # for a server to accept connections: its code is compiled by then


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
        self._has_reported = False
        self._listens = False
        self._serving: asyncio.Future[None] | None = None

    def start(self, *, listens: bool) -> None:
        """Start the workload. listens: whether to read messages of the process; else the socket is closed.

        Raises OSError if the process has ended.
        """
        assert self._socket is not None
        self._socket.send(messages.GO)
        if listens:
            self._listens = True
            asyncio.get_running_loop().add_reader(self._socket, self._receive)
        else:
            self.close()

    async def serving(self) -> None:
        """Wait until the process, a server, accepts connections.

        Call it after `start`, without an await in between. Raises the server's own error, FailedPrecondition
        if the process has ended, or DeadlineExceeded.
        """
        self._serving = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait_for(self._serving, _SERVE_SECONDS)
        except asyncio.TimeoutError:
            text = f"{self._name}: it does not accept connections after {_SERVE_SECONDS:g} s"
            raise DeadlineExceeded(text, reasons.SERVE) from None

    def drain(self) -> None:
        """Read the remaining datagrams of a process that is reaped, and close the socket."""
        for _ in range(_LAST_DATAGRAMS):  # bounded: a process that the engine has forked could still be sending
            if not self._receive():
                break
        self.close()

    def close(self) -> None:
        """Close the socket. A second call does nothing."""
        if self._socket is not None:
            if self._listens:
                asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
            self._answer(FailedPrecondition(f"{self._name}: it has ended before it accepted connections"))

    def _answer(self, error: PelagosError | None) -> None:
        """End the wait of `serving`, the first time."""
        if self._serving is not None and not self._serving.done():
            if error:
                self._serving.set_exception(error)
            else:
                self._serving.set_result(None)

    def _receive(self) -> bool:
        """Read one datagram: a key of the terminal, or a message. Returns whether there was one."""
        if self._socket is None:
            return False
        try:
            datagram = self._socket.recv(messages.MAX_BYTES)
        except BlockingIOError:
            return False
        except ConnectionError:
            datagram = b""
        if not datagram:
            self.close()
        elif len(datagram) > 1:
            self._handle_message(datagram)
        elif datagram[0] in terminal.SIGNALS:
            self._key(datagram[0])
        return bool(datagram)

    def _handle_message(self, datagram: bytes) -> None:
        """Pass the answer of a server to `serving`; log the first refusal of memory. Ignores a malformed message."""
        with contextlib.suppress(PelagosError):
            message = messages.decode(datagram)
            if isinstance(message, Listening):
                self._answer(None)
            elif isinstance(message, Failed):
                text = f"{self._name}: {message.message}"
                self._answer(from_fields(message.code, text, message.reason))
            if isinstance(message, Refused) and not self._has_reported:
                self._has_reported = True
                text = f"{self._name}: {refusal(message.asked, message.limit)}"
                log.warning("%s", with_reason(text, reasons.MEMORY))
                self._refused()
