"""Empty network namespaces of ended guests without a network, reused for later guests of the same pod.

The kernel takes half a millisecond to create a network namespace, and as long to remove it. A kept namespace equals a
new one: its only process has ended, and could neither fork nor change the namespace (`leaves_unchanged`).
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
        """Remove a kept namespace and return its descriptor, for one guest only; -1 if there is none."""
        return self._free.pop() if self._free else Fd(-1)

    def put(self, network: Fd) -> None:
        """Keep the namespace of a guest that has ended; no other process may be in it. Takes over the descriptor."""
        if network >= 0 and len(self._free) < MOST:
            self._free.append(network)
        else:
            network.close()


class Loan:
    """The empty namespace of one launch: a kept one, or the process' own."""

    def __init__(self, networks: EmptyNetworks, *, wanted: bool) -> None:
        """wanted: see `leaves_unchanged`."""
        self._networks, self._wanted = networks, wanted
        self._network = Fd(-1)

    def take(self) -> Fd:
        """A kept namespace for the process; -1 if the process must create one. `close` closes the descriptor."""
        if self._wanted and self._network < 0:
            self._network = self._networks.take()
        return self._network

    def hand_over(self, pid: int) -> Fd:
        """The namespace of the launched process, for `put` after its end; else -1. The caller must close it."""
        if not self._wanted:
            return Fd(-1)
        return Fd(self._network.release()) if self._network >= 0 else of(pid)

    def close(self) -> None:
        """Close a namespace that was not handed over."""
        self._network.close()


def of(pid: int) -> Fd:
    """The network namespace of a process; -1 if it cannot be opened."""
    try:
        return Fd(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return Fd(-1)


def leaves_unchanged(bundle: Bundle, plan: Plan) -> bool:
    """Whether the guest's network namespace is empty and unchanged after the guest has ended.

    An engine without the system call filter of engines may fork; CAP_NET_ADMIN allows changes (capabilities(7)). A
    namespace that belongs to a user namespace cannot be entered from outside (setns(2)).
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
