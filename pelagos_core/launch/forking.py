"""How an init process is forked: by the nursery, by the daemon itself, or beside the process that it joins.

In the daemon, whose child the new process is in each case. The child executes `init.run` and never returns.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from pelagos_core import reasons
from pelagos_core.errors import FailedPrecondition
from pelagos_core.launch import init
from pelagos_core.launch.init import JoinTarget, LaunchRequest
from pelagos_core.launch.nursery import Nursery
from pelagos_core.linux import namespaces

Request = Callable[[socket.socket], LaunchRequest]
"""Makes the request for a process of its end of the control socket."""
Fork = Callable[[Request], tuple[int, socket.socket]]
"""Forks a process for a request. Returns its pid and the daemon's end of its control socket."""


class Forker:
    """Forks the processes of one launch."""

    def __init__(self, name: str, nursery: Nursery | None = None) -> None:
        """name: what errors call the process. nursery: forks it, where it can."""
        self._name = name
        self._nursery = nursery

    def __call__(self, request: Request) -> tuple[int, socket.socket]:
        """Fork a process. Raises OSError, or FailedPrecondition if the container to join has ended."""
        pid, control = paired(lambda theirs: self._by_nursery(request(theirs)))
        return (pid, control) if pid else paired(lambda theirs: self._by_daemon(request(theirs)))

    def _by_nursery(self, request: LaunchRequest) -> int:
        return self._nursery.fork(request) if self._nursery and _is_for_the_nursery(request) else 0

    def _by_daemon(self, request: LaunchRequest) -> int:
        namespace = request.bundle.spec.namespace("pid")
        if request.join_target:
            pid = self._beside(request.join_target)
        else:
            # A process with a second stage enters a pid namespace then.
            pid = namespaces.fork(namespace.path if namespace and request.plan.second_stage is None else None)
        if pid == 0:
            init.run(request)
        return pid

    def _beside(self, target: JoinTarget) -> int:
        try:
            return namespaces.fork_beside(target.pidfd)
        except OSError as error:  # ESRCH, or ENOMEM for a pid namespace without its first process
            text = f"{self._name}: cannot enter the container: {error.strerror}"
            raise FailedPrecondition(text, reasons.ISOLATION) from None


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


def _is_for_the_nursery(request: LaunchRequest) -> bool:
    """Whether the process is the first of a new pid namespace, and stays it."""
    namespace = request.bundle.spec.namespace("pid")
    return request.join_target is None and request.plan.second_stage is None and bool(namespace and not namespace.path)
