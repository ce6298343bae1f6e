"""The state that the steps of one process share: the root, and descriptors in named slots.

A step declares the slots that it reads and fills, so that every dependency between two steps is visible.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pelagos_core.errors import Internal
from pelagos_core.rootfs.root import Root

ROOT = "root"
"""The directory that becomes `/`. It has a path on the host besides its descriptor."""

DEVICE_MOUNTS = "device mounts"
"""The mounts of single devices, kept by the library: they are known only after fstat(2) of the sources."""

CONTROL = "control"
"""The socket to the daemon."""

INPUT, OUTPUT, ERRORS = "stdin", "stdout", "stderr"
"""The descriptors that become 0 to 2."""

MASTER = "terminal"
"""The master of a terminal of the container's devpts, for the daemon."""

EMPTY_NETWORK = "empty network"
"""A network namespace without a process, if the daemon has passed one."""

ENTRYPOINT = "entry point"
CODE_DIRECTORY = "code directory"
"""The directory with the compiled code of the entry point."""

CONTAINER = "container"
"""The pidfd of the init process of the container to join."""

ENGINE_ROOT = "engine root"
"""The whole file system of an engine root; the engine's `/` is one of its directories."""


def source_slot(number: int) -> str:
    """The slot for the opened source of the spec's mount of this number."""
    return f"source {number}"


class State:
    """The slots of one process. descriptors: by the slot's name."""

    def __init__(self, root: Root, descriptors: Mapping[str, int] = MappingProxyType({})) -> None:
        """root: holds the slots of the process. descriptors: initial content of the slots."""
        self.root = root
        self.descriptors = root.process
        for slot, descriptor in descriptors.items():
            self.descriptors[slot] = descriptor

    def get(self, slot: str) -> int:
        """The descriptor in a slot, which stays filled. Raises Internal if it is empty: the plan is wrong."""
        if slot not in self.descriptors:
            raise Internal(f"the plan has left the slot {slot!r} empty")
        return self.descriptors[slot]

    def take(self, slot: str) -> int:
        """Remove the descriptor from a slot; the caller closes it. Raises as `get`."""
        found = self.get(slot)
        del self.descriptors[slot]
        return found
