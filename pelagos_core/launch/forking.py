"""The fork of an init process: by a nursery, by the daemon, or into the pid namespace of a container to join.

In the daemon, which is the parent in each case. The daemon's own fork runs `init.run` and never returns; a
nursery's fork executes a plan and has no interpreter.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from pelagos_core import reasons
from pelagos_core.errors import FailedPrecondition
from pelagos_core.launch import init
from pelagos_core.launch.bare_init import BareInit
from pelagos_core.launch.init import JoinTarget, LaunchRequest
from pelagos_core.launch.nursery import Nurseries
from pelagos_core.linux import namespaces
from pelagos_core.plugin.hookspecs import NativePart

Request = Callable[[socket.socket], LaunchRequest]
"""Builds the request for a process from its end of the control socket."""


class Forker:
    """Forks the processes of one launch."""

    def __init__(self, name: str, nurseries: Nurseries) -> None:
        """name: of the process, for errors."""
        self._name = name
        self._nurseries = nurseries

    def fork(self, request: Request) -> tuple[int, socket.socket]:
        """Fork a process with an interpreter. Returns its pid and the daemon's end of its control socket.

        Raises OSError, or FailedPrecondition if the container to join has ended.
        """
        return paired(lambda theirs: self._by_daemon(request(theirs)))

    def fork_bare(
        self, part: NativePart | None, init: BareInit, stdio: tuple[int, int, int], target: JoinTarget | None
    ) -> tuple[int, socket.socket]:
        """Fork a process without an interpreter. Returns as `fork`. Raises OSError or NotBareError.

        part: the native part of the backend; None for no engine. target: the container to join, or None.
        """
        plan, nursery = init.first(), self._nurseries.of(part)
        clone_options, container = init.clone_options(target), () if target is None else (target.pidfd,)
        return paired(
            lambda theirs: nursery.fork(plan, init.slots((theirs.fileno(), *stdio, *container)), clone_options)
        )

    def _by_daemon(self, request: LaunchRequest) -> int:
        namespace = request.bundle.spec.namespace("pid")
        if request.join_target:
            pid = self._beside(request.join_target)
        else:
            # With a second stage the second process enters the pid namespace.
            pid = namespaces.fork(namespace.path if namespace and request.plan.second_stage is None else None)
        if pid == 0:
            init.run(request)
        return pid

    def _beside(self, target: JoinTarget) -> int:
        try:
            return namespaces.fork_beside(target.pidfd)
        except OSError as error:  # ESRCH, or ENOMEM for a pid namespace whose first process has ended
            text = f"{self._name}: cannot enter the container: {error.strerror}"
            raise FailedPrecondition(text, reasons.ISOLATION) from None


def paired(fork: Callable[[socket.socket], int]) -> tuple[int, socket.socket]:
    """Call `fork` with one end of a socket pair; return the pid and the other end.

    Each attempt has its own pair: a failed attempt may still have forked a process.
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
    return pid, ours
