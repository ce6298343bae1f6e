"""The nursery: a small program with a loaded engine that forks init processes for the daemon.

Each daemon executes its own (native/nursery/nursery.c), so that pods do not share an address layout and a guest's
process has no pages of the daemon. A request is a plan with descriptors; the forked process executes the plan
and is a child of the daemon (clone(2), CLONE_PARENT).
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
_CREDENTIALS = 12  # size of struct ucred (unix(7)), which begins with the pid
_REQUESTS = 3  # the number of its socket for requests
_WAIT_SECONDS = 2.0  # for a fork, which usually takes a millisecond
# Values in place of a slot number (native/process/message.h).
_CLONE_IN_GROUP, _CLONE_IN_NAMESPACE = -1, -2
# Space for the command line of forked processes, on kernels where it cannot be moved (see `TakeName`), and one
# thread of the engine for a guest's streams: by default tokio creates one for each processor.
_ENVIRONMENT = {"TOKIO_WORKER_THREADS": "1", "ROOM": " " * 4096}


@dataclass(frozen=True, slots=True)
class CloneOptions:
    """The options of clone(2): the control group and pid namespace of the new process.

    flags: of clone(2), such as CLONE_NEWPID. cgroup: directory of a control group (v2), used if the kernel allows it.
    beside: pidfd of a process in the pid namespace to join; -1 for none. namespace: path of a pid namespace to join.
    """

    flags: int = 0
    cgroup: str | None = None
    beside: int = -1
    namespace: str = ""

    def opened(self) -> Iterator[tuple[int, Fd]]:
        """The descriptors for a request, each with its number. Raises OSError."""
        if self.cgroup:
            with contextlib.suppress(OSError):  # the later join reports a better error
                yield _CLONE_IN_GROUP, Fd(os.open(self.cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        if self.beside >= 0:
            yield _CLONE_IN_NAMESPACE, Fd(os.dup(self.beside))
        elif self.namespace:
            yield _CLONE_IN_NAMESPACE, Fd(os.open(self.namespace, os.O_RDONLY | os.O_CLOEXEC))


class _ForkError(OSError):
    """The nursery could not fork, but still serves."""


class Nursery:
    """One nursery. In the daemon."""

    def __init__(self, part: NativePart | None = None) -> None:
        """part: the native part of a backend, whose engine it loads; None for no engine."""
        self._part = part
        self._requests: socket.socket | None = None
        self._child: Child | None = None
        # Each fork gives two messages: the nursery's answer and one of the process itself. These have given one:
        self._returned: set[int] = set()  # pids with an answer, which `fork` has returned
        self._reported: set[int] = set()  # pids with a message of the process

    def start(self) -> None:
        """Execute the nursery, unless it runs. It serves requests once its engine is loaded. Raises OSError."""
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
                    # Set before execve(2) too: until then the child has a copy of the daemon's listening socket, and
                    # that must be closed when the daemon ends.
                    self._child = child.execute(
                        words, _ENVIRONMENT, streams, lambda: die_with_parent(signal.SIGKILL), program=program
                    )
            except BaseException:
                ours.close()
                raise
        ours.settimeout(_WAIT_SECONDS)
        self._requests = ours

    def fork(self, plan: bytes, descriptors: Mapping[int, int], clone_options: CloneOptions) -> int:
        """Send a request to fork a process that executes a plan, a child of the daemon. Returns its pid.

        descriptors: by the numbers of their slots.
        Raises OSError if the nursery cannot be executed, has ended, or cannot fork.
        """
        self.start()
        assert self._requests is not None
        with contextlib.ExitStack() as opened:
            given = [*descriptors.items(), *((slot, opened.enter_context(fd)) for slot, fd in clone_options.opened())]
            try:
                socket.send_fds(
                    self._requests,
                    [head([slot for slot, _ in given], clone_options.flags), plan],
                    [fd for _, fd in given],
                )
                return self._answer(self._requests)
            except _ForkError:
                raise
            except OSError as error:
                log.warning("nursery: %s", error)
                self.close()
                raise

    def close(self) -> None:
        """End the nursery, and kill and reap forked processes whose pid `fork` has not returned."""
        if self._requests is None:
            return
        if self._child is not None:
            self._child.close()
            self._child = None
        with self._requests, contextlib.suppress(OSError):
            while True:  # until ChildProcessError: the nursery's end of the socket is closed
                pid, is_own = _next_pid(self._requests)
                if not (is_own and pid in self._returned):
                    self._reported.add(pid)
        self._requests = None
        for pid in self._reported - self._returned:
            _end(pid)
        self._reported.clear()
        self._returned.clear()

    def _answer(self, requests: socket.socket) -> int:
        """The pid in the nursery's answer to a request. Raises OSError.

        There are two messages for each process, its own and the nursery's answer, in any order. Either may be missing:
        the process or the nursery may be killed before it sends, for example when a pid namespace ends.
        """
        while True:
            pid, is_own = _next_pid(requests)
            if not is_own:
                if pid in self._reported:
                    self._reported.discard(pid)
                else:
                    self._returned.add(pid)
                return pid
            if pid in self._returned:
                self._returned.discard(pid)
            else:
                self._reported.add(pid)


def _end(pid: int) -> None:
    """Kill and reap a child. If no child has this pid, does nothing."""
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        Child(pid).close()


class Nurseries:
    """The nurseries of a daemon: one for each engine in use."""

    def __init__(self) -> None:
        self._nurseries: dict[NativePart | None, Nursery] = {}

    def of(self, part: NativePart | None) -> Nursery:
        """The nursery with this engine; executed if it does not run. Raises OSError."""
        found = self._nurseries.setdefault(part, Nursery(part))
        found.start()
        return found

    def close(self) -> None:
        """End all nurseries."""
        for nursery in self._nurseries.values():
            nursery.close()


def _program() -> int:
    """A descriptor of the nursery's program, in a private read-only mount.

    A script with `#!/proc/self/exe` in a container executes the process' current program, the nursery, with the
    container's loader. As root it could then write to the host's file while no nursery runs (as in CVE-2019-5736).
    """
    with Fd(os.open(pelagos_native.NURSERY, os.O_PATH | os.O_CLOEXEC)) as file:
        try:
            return detached(file)
        except OSError:  # without privileges
            return file.release()


def head(slots: list[int], flags: int = 0) -> bytes:
    """The header of a plan's datagram. slots: one number for each descriptor of the datagram."""
    return _HEAD.pack(flags, len(slots), *slots, *[0] * (_MAX_DESCRIPTORS - len(slots)))


def _next_pid(requests: socket.socket) -> tuple[int, bool]:
    """Read a message with a pid. Returns the pid, and whether the process itself has sent it (else the nursery).

    A process in a new pid namespace does not know its pid outside: SCM_CREDENTIALS (unix(7)) contains it.
    Raises OSError, and ChildProcessError if the nursery has ended and no message is left.
    """
    data, ancillary, _, _ = requests.recvmsg(_ERROR.size, socket.CMSG_SPACE(_CREDENTIALS))
    if not data:
        raise ChildProcessError("it has ended")
    if len(data) == _ERROR.size:
        number = int(_ERROR.unpack(data)[0])
        if number < 0:
            raise _ForkError(-number, os.strerror(-number))
        return number, False
    return int(_PID.unpack_from(ancillary[0][2])[0]), True
