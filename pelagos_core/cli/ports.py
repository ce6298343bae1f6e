"""Published ports of `pelagos run -p`: listening sockets on the host, and a process that forwards to the container.

It does not use pasta(1), as rootless podman does, because: a port in use is an error before the container is created;
nothing must be installed; it works without a route; and it works for root, where pasta changes to the user `nobody` and
cannot open the container's network. It gives the container no outgoing connections; `--network host` does.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple

import click

from pelagos_core.errors import FailedPrecondition, Internal

_PORT = re.compile(
    r"(?:(?P<host>\[[^\]]+\]|[^:\[\]]+):)?(?P<port>[0-9]{1,5}):(?P<target>[0-9]{1,5})(?:/(?P<protocol>tcp|udp))?"
)
_MOST = 65535
_OPTION = "--publish"
_BACKLOG = 128
_ANSWER_BYTES = 1024
_EVERYWHERE = (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")  # noqa: S104 (as docker does)


class Port(NamedTuple):
    """One published port.

    host: an address of the host; empty for all. port: the host's. target: the container's. protocol: tcp or udp.
    """

    host: str
    port: int
    target: int
    protocol: str

    def __str__(self) -> str:
        return f"{f'[{self.host}]' if ':' in self.host else self.host}{':' if self.host else ''}{self.port}"


def parse(word: str) -> Port:
    """The port of docker's `[IP:]PORT:PORT[/tcp|udp]`. Raises BadParameter."""
    match = _PORT.fullmatch(word)
    if match is None:
        raise click.BadParameter(f"{word!r} is not [IP:]PORT:PORT[/tcp|udp]", param_hint=_OPTION)
    host = (match["host"] or "").strip("[]")
    if host and not any(_is_address(family, host) for family, _ in _EVERYWHERE):
        raise click.BadParameter(f"{word!r}: {host!r} is not an IP address", param_hint=_OPTION)
    numbers = int(match["port"]), int(match["target"])
    if not all(0 < number <= _MOST for number in numbers):
        raise click.BadParameter(f"{word!r}: a port is from 1 to {_MOST}", param_hint=_OPTION)
    return Port(host, *numbers, match["protocol"] or "tcp")


def _is_address(family: int, host: str) -> bool:
    try:
        socket.inet_pton(family, host)
    except OSError:
        return False
    return True


class Publisher:
    """Listens on published ports, and forwards from a separate process when the container exists.

    This process exits with the container's, which it watches by a pidfd, even if this command is killed.
    """

    def __init__(self, ports: tuple[Port, ...]) -> None:
        """Listen and fork. This process must have one thread. Raises FailedPrecondition for a port in use."""
        self._ours, theirs = socket.socketpair()
        listeners: list[tuple[Port, socket.socket]] = []
        try:
            for port in ports:
                listeners += [(port, listener) for listener in _listeners(port)]
            self._pid = os.fork()
            if self._pid == 0:
                self._ours.close()
                _be_forwarder(theirs, listeners)
        except BaseException:
            self._ours.close()
            raise
        finally:
            theirs.close()
            for _, listener in listeners:
                listener.close()

    def start(self, pid: int) -> None:
        """Start to forward to the network of a container's created process. Raises Internal."""
        self._ours.send(str(pid).encode())
        answer = self._ours.recv(_ANSWER_BYTES).decode()
        if answer != "ok":
            raise Internal(f"published ports: {answer or 'the forwarder has ended'}")

    def leave(self) -> None:
        """Detach, so that the process keeps forwarding when this command exits."""
        self._pid = 0

    def __enter__(self) -> Publisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ours.close()
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)


def _listeners(port: Port) -> list[socket.socket]:
    """A socket for each address of a port, bound in this process's network namespace."""
    if port.host:
        family = socket.AF_INET6 if ":" in port.host else socket.AF_INET
        return [_listener(port, family, port.host)]
    found = [_listener(port, *_EVERYWHERE[0])]
    with contextlib.suppress(OSError):  # a host without IPv6; with IPv6, the port may be in use there only
        socket.socket(socket.AF_INET6).close()
        found.append(_listener(port, *_EVERYWHERE[1]))
    return found


def _listener(port: Port, family: int, host: str) -> socket.socket:
    kind = socket.SOCK_STREAM if port.protocol == "tcp" else socket.SOCK_DGRAM
    made = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if port.protocol == "tcp":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port.port))
        if port.protocol == "tcp":
            made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise FailedPrecondition(f"port {port}/{port.protocol}: {error.strerror}{_remedy(error)}") from None
    return made


def _remedy(error: OSError) -> str:
    return ": without root it has to be 1024 or higher" if isinstance(error, PermissionError) else ""


def _be_forwarder(parent: socket.socket, listeners: list[tuple[Port, socket.socket]]) -> None:
    """Run the forwarder, in the child: wait for the container's pid, join its network, forward until it exits.

    Never returns.
    """
    try:
        os.setsid()  # ^C must reach the command only
        null = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(null, number)  # a reader of the command's output must not wait for this process
        word = parent.recv(_ANSWER_BYTES)
        if word:
            forward = _joined(int(word), parent, listeners)
            forward()
    finally:
        os._exit(0)


def _joined(pid: int, parent: socket.socket, listeners: list[tuple[Port, socket.socket]]) -> Callable[[], None]:
    from pelagos_core.cli import forwarding  # in the fork: asyncio takes 40 ms
    from pelagos_core.errors import PelagosError
    from pelagos_core.linux import namespaces

    try:
        pidfd = os.pidfd_open(pid)
        namespaces.join("network", f"/proc/{pid}/ns/net")
        forwarding.drop_privileges()
    except (OSError, PelagosError) as error:
        parent.send(str(error).encode()[:_ANSWER_BYTES])
        raise
    parent.send(b"ok")
    parent.close()
    return lambda: forwarding.run(listeners, pidfd)
