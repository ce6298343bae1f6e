"""The launcher of a daemon's processes, one object for all of its containers."""

from __future__ import annotations

from pelagos_core.cache.known_store import KnownModules
from pelagos_core.launch.conversation import Conversation
from pelagos_core.launch.empty_networks import EmptyNetworks
from pelagos_core.launch.forking import Forker
from pelagos_core.launch.launch import Launch
from pelagos_core.launch.nursery import Nurseries
from pelagos_core.metrics.recorder import NOT_COUNTED, Recorder


class Launcher:
    """Begins launches. In the daemon, which is the parent of all processes.

    networks: empty network namespaces, kept for later guests. metrics: counts for this daemon.
    """

    def __init__(self, nurseries: Nurseries, metrics: Recorder = NOT_COUNTED, address: str = "") -> None:
        """nurseries: fork processes without an interpreter. address: of containerd's API, to read images."""
        self._nurseries, self._address = nurseries, address
        self.metrics = metrics
        self._known = KnownModules()
        self.networks = EmptyNetworks()

    def begin(self, launch: Launch) -> Conversation:
        """Return the conversation of a launch; the caller runs it."""
        forker = Forker(launch.name, self._nurseries)
        return Conversation(launch, forker, self._known, self.networks, self._address)

    def leave_group(self) -> None:
        """End the nurseries after a change of the daemon's control group; they are executed again when needed."""
        self._nurseries.close()
