"""The socket between the daemon and one process: how it is made, and what a running guest's says by it."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable

from pelagos_core import reasons
from pelagos_core.errors import PelagosError, with_reason
from pelagos_core.launch import messages
from pelagos_core.launch.messages import Refused
from pelagos_core.plugin.limits import refusal

log = logging.getLogger(__name__)


def paired(fork: Callable[[socket.socket], int]) -> tuple[int, socket.socket]:
    """The pid that a fork returns, and our end of the pair whose other one it was given.

    For each attempt its own: one that has failed for us may have forked all the same.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    try:
        pid = fork(theirs)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    if not pid:
        ours.close()
    return pid, ours


class Refusals:
    """What one process tells of memory that its guest was refused; the first is logged, in the daemon."""

    def __init__(self, name: str) -> None:
        """name: what the log calls the process."""
        self._name = name
        self._is_told = False

    def hear(self, datagram: bytes) -> None:
        """Take what the process of a running guest has sent. Its engine may send anything, at any rate."""
        with contextlib.suppress(PelagosError):
            message = messages.decode(datagram)
            if isinstance(message, Refused) and not self._is_told:
                self._is_told = True
                text = f"{self._name}: {refusal(message.asked, message.limit)}"
                log.warning("%s", with_reason(text, reasons.MEMORY))
