"""Empty network namespaces that guests without a network have left, for later guests of the same pod.

The kernel needs half a millisecond to create a network namespace, and as long to remove it. A kept one is as a new
one: its only process has ended, and could neither fork nor change the namespace (`leaves_as_it_was`).
"""

from __future__ import annotations

import os

from pelagos_core.isolation.plan import Plan
from pelagos_core.linux.descriptor import Fd
from pelagos_core.oci import Capabilities
from pelagos_core.plugin.bundle import Bundle

MOST = 4
"""Namespaces without a guest that a daemon keeps; each takes some kernel memory."""

_ADMIN = "CAP_NET_ADMIN"


class EmptyNetworks:
    """The kept namespaces of a daemon. One is in use by one container at a time."""

    def __init__(self) -> None:
        self._free: list[Fd] = []

    def take(self) -> Fd:
        """The descriptor of a kept namespace, for the caller's guest alone; -1 if there is none."""
        return self._free.pop() if self._free else Fd(-1)

    def put(self, network: Fd) -> None:
        """Keep the namespace of a guest that has ended, without another process in it. Takes over the descriptor."""
        if network >= 0 and len(self._free) < MOST:
            self._free.append(network)
        else:
            network.close()


class Loan:
    """The empty namespace of one launch: a kept one, or the process' own."""

    def __init__(self, networks: EmptyNetworks, *, wanted: bool) -> None:
        """wanted: see `leaves_as_it_was`."""
        self._networks, self._wanted = networks, wanted
        self._network = Fd(-1)

    def take(self) -> Fd:
        """The kept namespace for the process; -1 if it creates one. The descriptor stays the loan's."""
        if self._wanted and self._network < 0:
            self._network = self._networks.take()
        return self._network

    def pass_on(self, pid: int) -> Fd:
        """The namespace of the launched process, for `put` after its end; else -1. The caller takes it over."""
        if not self._wanted:
            return Fd(-1)
        return Fd(self._network.release()) if self._network >= 0 else of(pid)

    def close(self) -> None:
        """Give a namespace up that was not passed on."""
        self._network.close()


def of(pid: int) -> Fd:
    """The network namespace of a process; -1 if it cannot be opened."""
    try:
        return Fd(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return Fd(-1)


def leaves_as_it_was(bundle: Bundle, plan: Plan) -> bool:
    """Whether a guest enters an empty namespace, and leaves it without a process and unchanged.

    Without its own profile an engine may fork; CAP_NET_ADMIN allows changes (capabilities(7)). A namespace that belongs
    to a user namespace cannot be entered from outside (setns(2)).
    """
    policy = bundle.policy
    return (
        not policy.network
        and policy.confines_engines
        and plan.second_stage is None
        and not _may_change(bundle.spec.process.capabilities)
    )


def _may_change(sets: Capabilities) -> bool:
    return any(
        _ADMIN in each for each in (sets.bounding, sets.effective, sets.inheritable, sets.permitted, sets.ambient)
    )
