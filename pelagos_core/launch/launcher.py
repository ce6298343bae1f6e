"""What the daemon launches processes with: one for all of its containers."""

from __future__ import annotations

from pelagos_core.launch.conversation import Conversation, Launch
from pelagos_core.launch.forking import Forker
from pelagos_core.launch.nursery import Nursery


class Launcher:
    """Begins launches. In the daemon, whose children the processes are."""

    def __init__(self, nursery: Nursery) -> None:
        """nursery: forks the processes, where it can."""
        self._nursery = nursery

    def begin(self, launch: Launch) -> Conversation:
        """The conversation of a launch, to be run by the caller."""
        return Conversation(launch, Forker(launch.name, self._nursery))

    def leave_group(self) -> None:
        """The daemon has changed its control groups: the nursery is forked again when it is needed next."""
        self._nursery.close()
