"""The nursery: a copy of the daemon that stays as it was, and forks init processes in its place.

What a fork shares with its parent it loses again when either writes to it, and a daemon at
work writes everywhere. So init processes are not forked by the daemon but by this process,
which does nothing else; clone(2) with CLONE_PARENT makes them the daemon's children all the
same. They are spares: forked before they are needed, they wait for the one order they obey.
"""

from __future__ import annotations

import copyreg
import dataclasses
import gc
import io
import os
import pickle
import random
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

from pelagos_core.backends import Backends
from pelagos_core.container_init import child
from pelagos_core.container_init.child import Order
from pelagos_core.linux import credentials, forked, syscalls
from pelagos_core.linux.namespaces import fork_sibling

ANOTHER = b"+"
MAX_ORDER = 128 << 10
PID_BYTES = 4
_STREAMS = 3
_CONTROL = 3

_own: list[Backends] = []


def encode(order: Order) -> bytes:
    """An order for a spare. What it has already, or is given otherwise, is left out."""
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = _OMITTED
    pickler.dump(order)
    return buffer.getvalue()


def run(backends: Backends, control: socket.socket) -> NoReturn:
    """Be the nursery. Called right after the fork, in the child; never returns.

    control: a SOCK_SEQPACKET pair's end. For each ANOTHER that the daemon sends, it gets a
    spare's pid and the other end of the spare's own control socket.
    """
    gc.disable()
    try:
        forked.restore_signals()
        credentials.die_with_parent(signal.SIGKILL)
        os.dup2(control.fileno(), _CONTROL, inheritable=False)
        control.detach()
        syscalls.close_range(_CONTROL + 1)
        syscalls.set_comm("pelagos-nursery")
        _own.append(backends)
        with socket.socket(fileno=_CONTROL) as orders:
            while orders.recv(1) == ANOTHER:
                _fork_spare(orders)
    finally:
        os._exit(0)


def _fork_spare(orders: socket.socket) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        pid = fork_sibling()
        if pid == 0:
            # With a copy of these it would not see the end of its daemon, or the daemon that of the nursery.
            ours.close()
            orders.close()
            _be_spare(theirs)
        socket.send_fds(orders, [pid.to_bytes(PID_BYTES, "little")], [ours.fileno()])


def _be_spare(control: socket.socket) -> NoReturn:
    """Wait for the order, and obey it. The end of the daemon, or of its interest, is ours."""
    try:
        credentials.die_with_parent(signal.SIGKILL)
        syscalls.set_comm("pelagos-spare")
        data, fds, _, _ = socket.recv_fds(control, MAX_ORDER, _STREAMS, socket.MSG_CMSG_CLOEXEC)
        if data:
            syscalls.set_comm("pelagos-init")
            random.seed()  # else every container would draw the same numbers as its siblings
            order: Order = pickle.loads(data)  # noqa: S301 (from our own daemon, over a pair that nobody else has)
            child.run(replace(order, control=control, stdio=(fds[0], fds[1], fds[2])))
    finally:
        os._exit(1)


def _own_backends() -> Backends:
    """The backends as the unpickling process has them loaded."""
    return _own[0]


def _nothing() -> None:
    """In place of what the receiver fills in."""


def _reduce_backends(_: Backends) -> tuple[Callable[..., Any], tuple[()]]:
    return _own_backends, ()


def _reduce_socket(_: socket.socket) -> tuple[Callable[..., Any], tuple[()]]:
    return _nothing, ()


class _Table(dict[type, Callable[[Any], Any]]):
    """How each type is pickled; dataclasses by their fields alone, in order."""

    def __missing__(self, kind: type) -> Callable[[Any], Any]:
        if not dataclasses.is_dataclass(kind):
            raise KeyError(kind)
        names = tuple(field.name for field in dataclasses.fields(kind))

        def reduce(value: object) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return _rebuilt, (kind, names, *[getattr(value, name) for name in names])

        self[kind] = reduce
        return reduce


def _rebuilt(kind: type, names: tuple[str, ...], *values: object) -> object:
    """A dataclass as it was: its __init__ and __setstate__ take three times as long."""
    made: object = object.__new__(kind)
    for name, value in zip(names, values, strict=True):
        object.__setattr__(made, name, value)
    return made


_OMITTED = _Table(copyreg.dispatch_table)
_OMITTED[Backends] = _reduce_backends
_OMITTED[socket.socket] = _reduce_socket
