"""The nursery: a small program, warm with an engine, that forks init processes for the daemon.

It is executed for each daemon (native/nursery/nursery.c), so that no pod shares an address layout with another one
and no page of the daemon's is in a guest's process. What it is sent is a plan and descriptors; what it forks
carries the plan out and is the daemon's child all the same (clone(2), CLONE_PARENT).
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pelagos_native
from pelagos_core.cache.lent_directory import detached
from pelagos_core.linux import child
from pelagos_core.linux.child import Child
from pelagos_core.linux.credentials import die_with_parent
from pelagos_core.linux.descriptor import Fd
from pelagos_core.native import library
from pelagos_core.plugin.hookspecs import NativePart

log = logging.getLogger(__name__)

MAX_PLAN = 128 << 10  # native/process/message.h
_MAX_DESCRIPTORS = 8
_HEAD = struct.Struct("=QI8i4x")  # struct plan_head
_ERROR = struct.Struct("=i")
_PID = struct.Struct("i")
_CREDENTIALS = 12  # bytes: unix(7), struct ucred, which begins with the pid
_REQUESTS = 3  # the descriptor by which requests come
_WAIT_SECONDS = 2.0  # for a fork, which takes a millisecond
# In place of a slot (native/process/message.h).
_BIRTH_GROUP, _BIRTH_NAMESPACE = -1, -2
# Room for the command line of a process that it forks, where the kernel lets it have no other (see `TakeName`), and
# one thread of the engine's for a guest's streams: tokio makes one for each processor otherwise.
_ENVIRONMENT = {"TOKIO_WORKER_THREADS": "1", "ROOM": " " * 4096}


@dataclass(frozen=True, slots=True)
class Birth:
    """Where a process is born.

    flags: of clone(2), such as CLONE_NEWPID. cgroup: the directory of a control group (v2), if the kernel lets it.
    beside: the pidfd of a process in whose pid namespace it is to be; -1 for none. namespace: the path of one.
    """

    flags: int = 0
    cgroup: str | None = None
    beside: int = -1
    namespace: str = ""

    def opened(self) -> Iterator[tuple[int, Fd]]:
        """What a nursery is given for it. Raises OSError."""
        if self.cgroup:
            with contextlib.suppress(OSError):  # joining it gives the better error
                yield _BIRTH_GROUP, Fd(os.open(self.cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        if self.beside >= 0:
            yield _BIRTH_NAMESPACE, Fd(os.dup(self.beside))
        elif self.namespace:
            yield _BIRTH_NAMESPACE, Fd(os.open(self.namespace, os.O_RDONLY | os.O_CLOEXEC))


class _ForkError(OSError):
    """The nursery has not forked, and can go on."""


class Nursery:
    """One nursery, as the daemon sees it."""

    def __init__(self, part: NativePart | None = None) -> None:
        """part: of the backend whose engine it has; None for no engine."""
        self._part = part
        self._requests: socket.socket | None = None
        self._child: Child | None = None

    def start(self) -> None:
        """Execute it, unless it runs. It serves once it is warm. Raises OSError."""
        if self._requests is not None:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        words = [str(pelagos_native.NURSERY), library.identity()]
        if self._part:
            words += [self._part.library, self._part.engine, self._part.settings]
        with theirs, Fd(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) as null:
            try:
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
                streams = {0: null, 1: null, _REQUESTS: theirs.fileno()}
                with Fd(_program()) as program:
                    # Before it is executed too: until then it holds the daemon's listener, which no dead daemon may leave.
                    self._child = child.execute(
                        words, _ENVIRONMENT, streams, lambda: die_with_parent(signal.SIGKILL), program=program
                    )
            except BaseException:
                ours.close()
                raise
        ours.settimeout(_WAIT_SECONDS)
        self._requests = ours

    def fork(self, plan: bytes, descriptors: Mapping[int, int], birth: Birth) -> int:
        """Have it fork a process that carries a plan out; a child of the daemon's. Returns its pid.

        descriptors: by the number of the slot that each is for.
        Raises OSError: there is no nursery, it is lost, or it cannot fork there.
        """
        self.start()
        assert self._requests is not None
        with contextlib.ExitStack() as opened:
            given = [*descriptors.items(), *((slot, opened.enter_context(fd)) for slot, fd in birth.opened())]
            try:
                socket.send_fds(
                    self._requests, [head([slot for slot, _ in given], birth.flags), plan], [fd for _, fd in given]
                )
                return _next_pid(self._requests)
            except _ForkError:
                raise
            except OSError as error:
                log.warning("nursery: %s", error)
                self.close()
                raise

    def close(self) -> None:
        """End it, with what it has forked and the daemon has not heard of."""
        if self._requests is None:
            return
        if self._child is not None:
            self._child.close()
            self._child = None
        with self._requests, contextlib.suppress(OSError):
            # Their other end is closed already, and such a process has told of itself before it did anything.
            while True:
                with Child(_next_pid(self._requests)):
                    pass
        self._requests = None


class Nurseries:
    """The nurseries of a daemon: one for each engine that containers have used."""

    def __init__(self) -> None:
        self._nurseries: dict[NativePart | None, Nursery] = {}

    def of(self, part: NativePart | None) -> Nursery:
        """The nursery with this engine, which runs from now on. Raises OSError."""
        found = self._nurseries.setdefault(part, Nursery(part))
        found.start()
        return found

    def close(self) -> None:
        """End all."""
        for nursery in self._nurseries.values():
            nursery.close()


def _program() -> int:
    """A descriptor of the nursery's program, in a read-only mount of its own.

    By `#!/proc/self/exe` a container's process executes the program that it has been so far, with a loader of the
    container's. If it is root, it could write to the host's file as soon as no nursery runs (as in CVE-2019-5736).
    """
    with Fd(os.open(pelagos_native.NURSERY, os.O_PATH | os.O_CLOEXEC)) as file:
        try:
            return detached(file)
        except OSError:  # without privileges
            return file.release()


def head(slots: list[int], flags: int = 0) -> bytes:
    """What comes before a plan in its datagram. slots: for each descriptor that comes along."""
    return _HEAD.pack(flags, len(slots), *slots, *[0] * (_MAX_DESCRIPTORS - len(slots)))


def _next_pid(requests: socket.socket) -> int:
    """The pid of a process that tells of itself. Raises OSError, and ChildProcessError if none is left that could.

    The kernel says which it is: it does not know itself, in a pid namespace of its own.
    """
    told, about, _, _ = requests.recvmsg(_ERROR.size, socket.CMSG_SPACE(_CREDENTIALS))
    if not told:
        raise ChildProcessError("it has ended")
    if len(told) == _ERROR.size:
        number = -_ERROR.unpack(told)[0]
        raise _ForkError(number, os.strerror(number))
    return int(_PID.unpack_from(about[0][2])[0])
