"""The zygote's server: all modules are loaded, and each request is answered, or served by one fork.

A loop in one thread, without state. A failure of a daemon or of a `start` does not affect the next request.
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

_PEER_SECONDS = 5.0  # for the client to send its request
_FDS = 1  # of a request: the working directory
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

# Runs the daemon of a command line on a listener. Called in a fork of the zygote.
Daemon = Callable[[list[str], socket.socket], object]


class _Terminated(BaseException):
    """A signal that ends the zygote has arrived."""


class Zygote:
    """One zygote, from its listening socket to its end."""

    def __init__(self, path: str, freshness: Freshness, daemon: Daemon) -> None:
        """path: of the socket, bound by `listen`."""
        self._path = path
        self._freshness = freshness
        self._daemon = daemon
        self._listener: socket.socket | None = None
        self._socket = (0, 0)

    def listen(self, *, replace: bool) -> bool:
        """Bind the socket. Returns False if there is a zygote already. replace: replace it, since it does not answer.

        The socket is renamed to its path after listen(2), so no client can connect to a zygote that is still loading.
        Raises OSError if the directory is not writable, or if other users can write to it.
        """
        with Lock(self._path):
            _check_owner(os.path.dirname(self._path))
            if not replace and is_served(self._path):
                return False
            new = f"{self._path[:-8]}.{os.getpid():07}"  # a unique name, not longer than the path
            self._listener = socket.socket(fileno=listen(new, socket.SOCK_SEQPACKET).detach())
            self._socket = identity(new)
            os.rename(new, self._path)
        return True

    def serve(self, idle_seconds: float | None) -> None:
        """Serve until the zygote is stale, or idle: without a request for `idle_seconds` and without a daemon.

        idle_seconds: None for no limit. A running daemon shares the zygote's pages, so the zygote needs no further
        memory.
        """
        assert self._listener is not None
        # With SIGCHLD ignored, the kernel reaps ended daemons. Each fork restores the default.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        _has_daemons()  # the first daemon may have ended before SIGCHLD was ignored
        for signum in _SIGNALS:
            signal.signal(signum, _end)
        self._listener.settimeout(idle_seconds)
        try:
            while self._serve_next():
                pass
        except _Terminated:
            pass
        finally:
            self._leave()

    def _serve_next(self) -> bool:
        """Wait for a request and serve it. Returns False if another zygote has replaced the socket, or when idle.

        The path is checked after the request, so that a client that had connected before gets an answer.
        """
        assert self._listener is not None
        try:
            client, _ = self._listener.accept()
        except TimeoutError:
            continues = _has_daemons()
        else:
            with client:
                continues = self._answer(client)
        return continues and identity(self._path) == self._socket

    def _leave(self) -> None:
        assert self._listener is not None
        with contextlib.suppress(OSError), Lock(self._path):
            if identity(self._path) == self._socket:
                os.unlink(self._path)
        self._listener.close()

    def _answer(self, client: socket.socket) -> bool:
        """Serve one request. Returns False if this zygote is stale."""
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
        """Answer the request, or fork a daemon that answers. Returns False if this zygote is stale."""
        try:
            answer = shim_command.answer(request, directory_fd)
        except (shim_command.DeclinedError, PelagosError, OSError):
            client.send(REFUSED)
            return True
        if isinstance(answer, bytes):
            client.send(DONE + answer)
            return True
        # Checked only before a fork, which uses the loaded modules: the check takes as long as all of the above.
        if self._freshness.is_stale():
            client.send(STALE)
            return False
        # Blocked: a signal for the zygote must not end the fork before it has its own handlers and process group.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            if os.fork() == 0:
                self._run_daemon(request, answer, client, directory_fd)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        return True

    def _run_daemon(
        self, request: Request, missing: shim_command.MissingDaemon, client: socket.socket, directory_fd: int
    ) -> NoReturn:
        """Do the rest of `start`, answer, and run the daemon. In the fork."""
        code = 1
        try:
            assert self._listener is not None
            self._listener.close()
            for signum in (*_SIGNALS, signal.SIGCHLD):
                signal.signal(signum, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            os.setpgid(0, 0)  # not setsid(2): a session leader can acquire a controlling terminal
            fd = open_log(directory_fd)
            os.dup2(fd, 2)
            os.close(fd)
            inheritance.adopt(request)
            listener = _listen_and_answer(missing.path, client, directory_fd)
            client.close()
            os.close(directory_fd)
            if listener:
                set_name(SHIM, missing.words)
                self._daemon(missing.words, listener)
            code = 0
        except BaseException:  # noqa: BLE001 (the fork must not return to the zygote's loop)
            traceback.print_exc()
        finally:
            os._exit(code)


def _listen_and_answer(path: str, client: socket.socket, directory_fd: int) -> socket.socket | None:
    """Listen at `path` and answer the client. If another daemon listens already, answers too and returns None.

    The lock is held until the answer is sent, so that a later `start` finds a served socket. It is released before any
    fork, which would inherit it. If the client has stopped waiting, nothing needs to be done: a daemon without a Create
    ends by itself. If OSError is raised, no socket is left at `path`.
    """
    address = f"unix://{path}".encode()
    with Lock(path):
        listener = None if is_served(path) else listen(path)
        try:
            write_address(address, directory_fd)
            client.send(DONE + address)
        except ConnectionError:
            pass  # the launcher in Python serves the request instead, and may have found the socket already
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
    """Whether a daemon of this zygote runs. Reaps those that ended before SIGCHLD was ignored."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _end(_signum: int, _frame: FrameType | None) -> None:
    raise _Terminated
