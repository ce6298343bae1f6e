"""What the daemon launches processes with: one for all of its containers."""

from __future__ import annotations

from pelagos_core.cache.known_store import KnownModules
from pelagos_core.launch.conversation import Conversation
from pelagos_core.launch.forking import Forker
from pelagos_core.launch.launch import Launch
from pelagos_core.launch.nursery import Nurseries


class Launcher:
    """Begins launches. In the daemon, whose children the processes are."""

    def __init__(self, nurseries: Nurseries) -> None:
        """nurseries: fork the processes, where they can."""
        self._nurseries = nurseries
        self._known = KnownModules()

    def begin(self, launch: Launch) -> Conversation:
        """The conversation of a launch, to be run by the caller."""
        return Conversation(launch, Forker(launch.name, self._nurseries), self._known)

    def leave_group(self) -> None:
        """The daemon has changed its control groups: a nursery is executed again when it is needed next."""
        self._nurseries.close()
