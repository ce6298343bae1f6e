"""What the steps of one process leave for its later steps: the root, and descriptors in named slots.

A step says which slots it reads and which it fills, so that nothing passes between two steps unseen.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pelagos_core.errors import Internal
from pelagos_core.rootfs.root import Root

ROOT = "root"
"""The directory that becomes `/`. Not a descriptor alone: it has a path on the host too."""

DEVICE_MOUNTS = "device mounts"
"""The mounts of single devices, which the library keeps: they are known only once the sources are looked at."""

CONTROL = "control"
"""The socket to the daemon."""

INPUT, OUTPUT, ERRORS = "stdin", "stdout", "stderr"
"""What becomes descriptors 0 to 2."""

MASTER = "terminal"
"""The master of a terminal of the container's own, for the daemon."""

ENTRYPOINT = "entry point"
CODE_DIRECTORY = "code directory"
"""The directory with what has been compiled of the entry point."""

CONTAINER = "container"
"""The pidfd of the init process of the container that is joined."""

ENGINE_ROOT = "engine root"
"""The whole file system of an engine root, of which the root that the engine sees is one directory."""


def source_slot(number: int) -> str:
    """Where the source of the spec's mount of this number is, opened before it is mounted."""
    return f"source {number}"


class State:
    """The slots of one process. descriptors: by the slot's name."""

    def __init__(self, root: Root, descriptors: Mapping[str, int] = MappingProxyType({})) -> None:
        """root: in whose process the slots are. descriptors: what the slots hold at first."""
        self.root = root
        self.descriptors = root.process
        for slot, descriptor in descriptors.items():
            self.descriptors[slot] = descriptor

    def get(self, slot: str) -> int:
        """The descriptor in a slot, which stays there. Raises Internal if it is empty: a fault of the plan."""
        if slot not in self.descriptors:
            raise Internal(f"the plan has left the slot {slot!r} empty")
        return self.descriptors[slot]

    def take(self, slot: str) -> int:
        """The descriptor in a slot, which the caller closes; the slot is empty then. Raises as `get`."""
        found = self.get(slot)
        del self.descriptors[slot]
        return found
