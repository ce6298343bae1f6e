"""Sends HTTP requests from inside the network namespace of a process."""

from __future__ import annotations

import http.client
import os
import threading
from collections.abc import Callable
from typing import TypeVar

from pelagos_core.linux import syscalls

_T = TypeVar("_T")
PORT = 8080


def inside(pid: int, run: Callable[[], _T]) -> _T:
    """Call `run` in the network namespace of a process, in a separate thread: setns(2) affects one thread."""
    results: list[_T] = []
    errors: list[BaseException] = []

    def enter() -> None:
        try:
            namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
            syscalls.setns(namespace, syscalls.CLONE_NEWNET)
            os.close(namespace)
            results.append(run())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def get(path: str = "/", port: int = PORT, host: str = "127.0.0.1", seconds: float = 20) -> tuple[int, str]:
    """Status and body of a request on a new connection. Raises OSError and http.client.HTTPException."""
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    try:
        return answer(connection, path)
    finally:
        connection.close()


def answer(connection: http.client.HTTPConnection, path: str = "/") -> tuple[int, str]:
    """Status and body of a request on this connection."""
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.read().decode()


class Load:
    """Clients that request a path repeatedly, in a process's network, each in a thread, until `end`.

    answered: the statuses.
    failed: errors, except refused connections.
    reused: the number of connections that were closed before an answer, after an earlier answer on them: a client
        repeats such a request (RFC 9112, 9.3.1).
    """

    def __init__(self, pid: int, clients: int, *, keeps: bool, pause: float = 0.0) -> None:
        """Arguments: keeps: whether a client keeps its connection. pause: seconds between two requests."""
        self.answered: list[int] = []
        self.failed: list[str] = []
        self.reused = 0
        self._keeps, self._pause = keeps, pause
        self._over = threading.Event()
        self._threads = [threading.Thread(target=inside, args=(pid, self._ask)) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Stop the clients."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        connection, before = http.client.HTTPConnection("127.0.0.1", PORT, timeout=20), 0
        while not self._over.is_set():
            try:
                if connection.sock is None:
                    before = 0
                    connection.timeout = 1
                    connection.connect()
            except OSError:  # the server has closed its socket
                self._over.wait(0.05)
                continue
            try:
                self.answered.append(answer(connection)[0])
                before += 1
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if before and isinstance(
                    error, http.client.RemoteDisconnected | ConnectionResetError | BrokenPipeError
                ):
                    self.reused += 1
                else:
                    self.failed.append(repr(error))
            if not self._keeps:
                connection.close()
            self._over.wait(self._pause)
        connection.close()
