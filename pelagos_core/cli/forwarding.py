"""Forwards published ports: from sockets in the host's network to servers in the network of this process."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import time
from typing import TYPE_CHECKING, Any, Protocol

from pelagos_core.linux import syscalls

if TYPE_CHECKING:
    from collections.abc import Sequence

_CHUNK = 64 << 10
# A guest of WASI that listens on `::` has no IPv4 on that socket.
_LOOPBACKS = ("127.0.0.1", "::1")
_NOBODY = 65534
_NO_NEW_PRIVILEGES = 38  # PR_SET_NO_NEW_PRIVS
_MOST_PEERS = 1024  # of one UDP port
_IDLE_SECONDS = 60.0


class _Port(Protocol):
    @property
    def target(self) -> int: ...

    @property
    def protocol(self) -> str: ...


def drop_privileges() -> None:
    """Change to the user `nobody`, if possible: a user namespace with one id has no other user."""
    syscalls.prctl(_NO_NEW_PRIVILEGES, 1)
    # Each call separately: if a user namespace refuses one, the others are still tried.
    with contextlib.suppress(OSError):
        os.setgroups([])
    with contextlib.suppress(OSError):
        os.setgid(_NOBODY)
    with contextlib.suppress(OSError):
        os.setuid(_NOBODY)


def run(listeners: Sequence[tuple[_Port, socket.socket]], pidfd: int) -> None:
    """Forward from each socket to its port, until the process of `pidfd` has exited."""
    asyncio.run(_forward(listeners, pidfd))


async def _forward(listeners: Sequence[tuple[_Port, socket.socket]], pidfd: int) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    for port, listener in listeners:
        listener.setblocking(False)
        if port.protocol == "tcp":
            await asyncio.start_server(_connection_to(port.target), sock=listener)
        else:
            await loop.create_datagram_endpoint(functools.partial(_Datagrams, port.target), sock=listener)
    await ended.wait()
    os._exit(0)  # without closing open connections: their server has exited


def _connection_to(target: int) -> Any:  # noqa: ANN401 (a callback of asyncio)
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = await _server(target)
        if found is None:
            writer.transport.abort()
            return
        inner_reader, inner_writer = found
        await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))
        for each in (writer, inner_writer):
            each.close()

    return connected


async def _server(target: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    for address in _LOOPBACKS:
        with contextlib.suppress(OSError):
            return await asyncio.open_connection(address, target)
    return None


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy one direction until its end, then close it on the other side too."""
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:  # one side has closed the connection
        writer.transport.abort()


class _Datagrams(asyncio.DatagramProtocol):
    """One UDP port. Each client has a separate socket to the server, so that answers can be returned to it."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._peers: dict[Any, tuple[socket.socket, float]] = {}  # in the order of their last use

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def datagram_received(self, data: bytes, client: Any) -> None:  # noqa: ANN401 (an address of asyncio)
        self._forget_idle()
        known = self._peers.pop(client, None)
        peer = known[0] if known else self._peer(client)
        self._peers[client] = peer, time.monotonic()
        with contextlib.suppress(OSError):  # no server listens yet; a datagram may be lost
            peer.send(data)

    def _peer(self, client: Any) -> socket.socket:  # noqa: ANN401
        peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        peer.setblocking(False)
        peer.connect((_LOOPBACKS[0], self._target))
        asyncio.get_running_loop().add_reader(peer, self._answer, peer, client)
        return peer

    def _answer(self, peer: socket.socket, client: Any) -> None:  # noqa: ANN401
        with contextlib.suppress(OSError):
            self._transport.sendto(peer.recv(_CHUNK), client)

    def _forget_idle(self) -> None:
        now = time.monotonic()
        for client, (peer, used) in list(self._peers.items()):
            if now - used < _IDLE_SECONDS and len(self._peers) < _MOST_PEERS:
                break
            asyncio.get_running_loop().remove_reader(peer)
            peer.close()
            del self._peers[client]
