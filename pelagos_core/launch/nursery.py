"""The nursery: a copy of the daemon that stays as it was, and forks init processes in its place.

What a fork shares with its parent it loses again when either writes to it, and a daemon at
work writes everywhere. So init processes are not forked by the daemon but by this process,
which does nothing else: it unpacks an order, so that its child need not, and forks the one
who obeys. clone(2) with CLONE_PARENT makes that the daemon's child all the same.
"""

from __future__ import annotations

import contextlib
import copyreg
import dataclasses
import gc
import io
import logging
import os
import pickle
import random
import select
import signal
import socket
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

from pelagos_core.backends.registry import Backends
from pelagos_core.launch import init
from pelagos_core.launch.immortal import make_everything_immortal
from pelagos_core.launch.init import LaunchRequest
from pelagos_core.linux import credentials, forked, syscalls
from pelagos_core.linux.namespaces import fork_sibling
from pelagos_core.native.process_name import rename

log = logging.getLogger(__name__)

_MAX_ORDER = 128 << 10
_DESCRIPTORS = 4  # the order's control socket and streams
_TOLD = b"!"  # by who obeys an order, once it is there
_PID = struct.Struct("i")
_CREDENTIALS = 12  # bytes: unix(7), struct ucred, which begins with the pid
_ORDERS = 3  # the descriptor by which orders come
_WAIT_SECONDS = 2.0  # for a fork, which takes a millisecond
_QUIET_SECONDS = 1.0

_own: list[Backends] = []


class Nursery:
    """The nursery, as the daemon sees it."""

    def __init__(self) -> None:
        self._backends: Backends | None = None
        self._orders: socket.socket | None = None
        self._pid = 0

    def start(self, backends: Backends) -> None:
        """Fork the nursery, which has these backends. Without one, the daemon forks itself.

        The earlier the better: it and all containers share what nobody has written to since.
        """
        self.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            return
        else:
            if pid == 0:
                _be_the_nursery(backends, theirs)
        finally:
            theirs.close()
        ours.settimeout(_WAIT_SECONDS)
        self._orders, self._pid, self._backends = ours, pid, backends

    def fork(self, order: LaunchRequest) -> int:
        """Have it fork an init process, the first of a new pid namespace and the daemon's child.

        Returns its pid; 0 if there is no nursery or the order is too long, and the daemon is to fork itself.
        """
        if self._orders is None or order.selection.backends is not self._backends:
            self.start(order.selection.backends)
        if self._orders is None:
            return 0
        data = encode(order)
        if len(data) > _MAX_ORDER:
            return 0
        try:
            socket.send_fds(self._orders, [data], [order.control.fileno(), *order.stdio])
            return _next_pid(self._orders) or self._failed("has ended")
        except OSError as error:
            return self._failed(str(error))

    def _failed(self, why: str) -> int:
        log.warning("nursery: %s; the daemon forks itself", why)
        self.close()
        return 0

    def close(self) -> None:
        """End it."""
        if self._orders is None:
            return
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self._pid, signal.SIGKILL)  # our own child, not reaped yet
            os.waitpid(self._pid, 0)
        with self._orders, contextlib.suppress(OSError):
            # What it has forked and we have not heard of is our child too, and tells of itself, or
            # has. Nobody is at the other end of its control socket any more.
            while pid := _next_pid(self._orders):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        self._orders = None


def _next_pid(orders: socket.socket) -> int:
    """The pid of one who obeys an order and tells of it; 0 if nobody is left who could. Raises OSError.

    The kernel says who it is: it cannot know itself, in a pid namespace of its own.
    """
    told, about, _, _ = orders.recvmsg(len(_TOLD), socket.CMSG_SPACE(_CREDENTIALS))
    return int(_PID.unpack_from(about[0][2])[0]) if told else 0


def encode(order: LaunchRequest) -> bytes:
    """An order for the nursery. What it has already, or is given otherwise, is left out."""
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = _OMITTED
    pickler.dump(order)
    return buffer.getvalue()


def _be_the_nursery(backends: Backends, daemon: socket.socket) -> NoReturn:
    """Right after the fork, in the child. The end of the daemon, or of its interest, is ours."""
    gc.disable()
    try:
        forked.restore_signals()
        credentials.die_with_parent(signal.SIGKILL)
        os.dup2(daemon.fileno(), _ORDERS, inheritable=False)
        daemon.detach()
        syscalls.close_range(_ORDERS + 1)
        rename("pelagos-nursery")
        _own.append(backends)
        with socket.socket(fileno=_ORDERS) as orders:
            while _serve_one(orders):
                # For a daemon that no zygote has forked. It takes a tenth of a second, for which no container waits.
                if not select.select([orders], [], [], _QUIET_SECONDS)[0]:
                    make_everything_immortal()
    finally:
        os._exit(0)


def _serve_one(orders: socket.socket) -> bool:
    """Take one order and fork who obeys it; False if there are none any more."""
    data, fds, _, _ = socket.recv_fds(orders, _MAX_ORDER, _DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    if not data:
        return False
    control, *stdio = fds
    try:
        order: LaunchRequest = pickle.loads(data)  # noqa: S301 (from our own daemon, over a pair that nobody else has)
        if fork_sibling(_parent_cgroup(order)) == 0:
            # We tell of ourselves, so that nobody is lost with a nursery that is lost in this moment.
            orders.send(_TOLD)
            # With a copy of it the daemon would not see the end of the nursery.
            orders.close()
            _become_init(replace(order, control=socket.socket(fileno=control), stdio=(stdio[0], stdio[1], stdio[2])))
    finally:
        for fd in fds:
            os.close(fd)
    return True


def _parent_cgroup(order: LaunchRequest) -> str | None:
    """The directory of the control group that the container's process can be born in: one of v2."""
    cgroup = order.plan.cgroup
    return cgroup.paths[0] if cgroup.unified else None


def _become_init(order: LaunchRequest) -> NoReturn:
    try:
        credentials.die_with_parent(signal.SIGKILL)
        random.seed()  # else every container would draw the same numbers as its siblings
        init.run(order)
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
