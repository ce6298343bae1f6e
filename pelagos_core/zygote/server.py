"""The warm parent: everything is loaded, and what it does for a request is an answer, or one fork.

A plain loop of one thread without state. Whatever happens to a daemon, or its `start`, the next
request finds the zygote as it was.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import traceback
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from pelagos_core.errors import PelagosError
from pelagos_core.native.process_name import SHIM, set_name
from pelagos_core.ownership import is_written_by
from pelagos_core.shim.start import open_log, write_address
from pelagos_core.shim.unix_socket import Lock, identity, is_served, listen
from pelagos_core.shim.zygote_client import peer_uid
from pelagos_core.shim.zygote_request import DONE, MAX_BYTES, REFUSED, STALE, Request, decode
from pelagos_core.zygote import inheritance, shim_command
from pelagos_core.zygote.freshness import Freshness

log = logging.getLogger(__name__)

_PEER_SECONDS = 5.0  # for a client to send
_FDS = 1  # of a request: the working directory
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

# Be the daemon: of this command line, on this listener. Called in a fork of the zygote.
Daemon = Callable[[list[str], socket.socket], object]


class _Told(BaseException):
    """A signal told the zygote to end."""


class Zygote:
    """One zygote, from its listening socket to its end."""

    def __init__(self, path: str, freshness: Freshness, daemon: Daemon) -> None:
        """path: where it is found, once `listen` was called."""
        self._path = path
        self._freshness = freshness
        self._daemon = daemon
        self._listener: socket.socket | None = None
        self._socket = (0, 0)

    def listen(self, *, replace: bool) -> bool:
        """Take the zygote's place. False if there is one; `replace`: it does not answer.

        The socket has its name only when it listens: nobody finds one that is not warm.
        Raises OSError if the directory cannot be written to, or could be by others.
        """
        with Lock(self._path):
            _check_owner(os.path.dirname(self._path))
            if not replace and is_served(self._path):
                return False
            born = f"{self._path[:-8]}.{os.getpid():07}"  # no longer than the path, and nobody else's
            self._listener = socket.socket(fileno=listen(born, socket.SOCK_SEQPACKET).detach())
            self._socket = identity(born)
            os.rename(born, self._path)
        return True

    def serve(self, idle_seconds: float | None) -> None:
        """Serve until nobody has asked for `idle_seconds` and no daemon is left, or we are stale.

        idle_seconds: None for ever. While daemons live our pages are theirs too, so staying costs nothing.
        """
        assert self._listener is not None
        # Ignored, ended daemons need no reaping. Each fork takes the default on again.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        _has_daemons()  # our first may have ended before
        for signum in _SIGNALS:
            signal.signal(signum, _end)
        self._listener.settimeout(idle_seconds)
        try:
            while self._serve_next():
                pass
        except _Told:
            pass
        finally:
            self._leave()

    def _serve_next(self) -> bool:
        """Wait for a request and serve it. False if the next one is another zygote's, or there is none to come.

        Whether another zygote has taken the place is looked at afterwards: a client that came before gets an answer.
        """
        assert self._listener is not None
        try:
            client, _ = self._listener.accept()
        except TimeoutError:
            goes_on = _has_daemons()
        else:
            with client:
                goes_on = self._answer(client)
        return goes_on and identity(self._path) == self._socket

    def _leave(self) -> None:
        assert self._listener is not None
        with contextlib.suppress(OSError), Lock(self._path):
            if identity(self._path) == self._socket:
                os.unlink(self._path)
        self._listener.close()

    def _answer(self, client: socket.socket) -> bool:
        """Serve one request. False if it finds us stale: then the next one would too."""
        fds: list[int] = []
        try:
            client.settimeout(_PEER_SECONDS)
            if peer_uid(client) != os.geteuid():
                return True
            datagram, fds, _, _ = socket.recv_fds(client, MAX_BYTES, _FDS, socket.MSG_CMSG_CLOEXEC)
            if not datagram or len(fds) != _FDS:
                return True
            return self._do(decode(datagram), client, fds[0])
        except (OSError, ValueError):
            log.exception("zygote: a request")
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def _do(self, request: Request, client: socket.socket, directory_fd: int) -> bool:
        """Answer what needs no fork; else fork a daemon, which answers for itself. False if we are stale."""
        try:
            answer = shim_command.answer(request, directory_fd)
        except (shim_command.DeclinedError, PelagosError, OSError):
            client.send(REFUSED)
            return True
        if isinstance(answer, bytes):
            client.send(DONE + answer)
            return True
        # What is loaded matters for those who get it; the look takes as long as all of the above.
        if self._freshness.is_stale():
            client.send(STALE)
            return False
        # A signal that ends us must not end what has been forked but is not yet a process of its own.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            if os.fork() == 0:
                self._be_daemon(request, answer, client, directory_fd)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        return True

    def _be_daemon(
        self, request: Request, missing: shim_command.MissingDaemon, client: socket.socket, directory_fd: int
    ) -> NoReturn:
        """In the fork: do the rest of `start`, answer, and go on as the daemon."""
        code = 1
        try:
            assert self._listener is not None
            self._listener.close()
            for signum in (*_SIGNALS, signal.SIGCHLD):
                signal.signal(signum, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            os.setpgid(0, 0)  # not a session of its own: whoever leads one may be given a terminal
            fd = open_log(directory_fd)
            os.dup2(fd, 2)
            os.close(fd)
            inheritance.adopt(request)
            listener = _take_place(missing.path, client, directory_fd)
            client.close()
            os.close(directory_fd)
            if listener:
                set_name(SHIM, missing.words)
                self._daemon(missing.words, listener)
            code = 0
        except BaseException:  # noqa: BLE001 (nothing of the zygote's may run on in its fork)
            traceback.print_exc()
        finally:
            os._exit(code)


def _take_place(path: str, client: socket.socket, directory_fd: int) -> socket.socket | None:
    """Listen at `path` and tell the client so. None if another daemon has been quicker, which is told as well.

    Under the lock until the client has the answer: whoever comes later finds us serving. The lock is
    closed before anything is forked, which would inherit it. A client that has given up makes no difference:
    a daemon without a Create ends by itself. The place is as it was when OSError is raised.
    """
    address = f"unix://{path}".encode()
    with Lock(path):
        listener = None if is_served(path) else listen(path)
        try:
            write_address(address, directory_fd)
            client.send(DONE + address)
        except ConnectionError:
            pass  # the program in Python goes on in its place, and may have seen the socket already
        except BaseException:
            if listener:
                os.unlink(path)
            with contextlib.suppress(OSError):
                client.send(REFUSED)
            raise
    return socket.socket(fileno=listener.detach()) if listener else None


def _check_owner(directory: str) -> None:
    if not is_written_by(os.stat(directory), os.geteuid()):
        raise PermissionError(1, "can be written by others", directory)


def _has_daemons() -> bool:
    """Whether one of them lives. Reaps those that ended before that was the kernel's work."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _end(_signum: int, _frame: FrameType | None) -> None:
    raise _Told
