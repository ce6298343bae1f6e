"""The arguments and the result of a launch."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pelagos_core.backends.registry import Backend
from pelagos_core.backends.selection import Selection
from pelagos_core.config.node_file import CacheSettings
from pelagos_core.images.artifact import Descriptor
from pelagos_core.isolation.plan import Plan
from pelagos_core.launch.init import JoinTarget
from pelagos_core.linux.descriptor import Fd
from pelagos_core.metrics.recorder import NOT_COUNTED, Recorder
from pelagos_core.plugin.bundle import Bundle


class Streams(Protocol):
    """The interface of a process' open streams for a launch."""

    @property
    def child(self) -> tuple[int, int, int]:
        """The descriptors for 0, 1 and 2 of the process."""

    def adopt(self, master: int) -> None:
        """Use a terminal that the process has opened in its container. Takes over the descriptor."""


@dataclass(frozen=True, slots=True)
class Launch:
    """The arguments of a launch, and its callbacks.

    name: of the process, for errors. bundle: the container's, with this process in `spec.process`.
    cache: of compiled code. forked: called with the pid of each forked process.
    find_target: called before each fork, returns the container to join; None for an init process.
    metrics: records cache hits, cache misses and compile times.
    """

    name: str
    bundle: Bundle
    plan: Plan
    selection: Selection
    cache: CacheSettings
    streams: Streams
    forked: Callable[[int], None]
    find_target: Callable[[], JoinTarget] | None = None
    metrics: Recorder = NOT_COUNTED


NO_NETWORK = Fd(-1)


@dataclass(frozen=True, slots=True)
class Launched:
    """A child of the daemon that is isolated and loaded, and waits for Start.

    pidfd, control: the caller closes them and reaps the child. backend, reason: the chosen backend, and why.
    enclosed: whether the container's root is inside an engine root. listens: whether the daemon must read
    further messages on `control`. serves: whether it is a server, which sends Listening or Failed after Start.
    termination_signal: a signal that has ended it already, or 0.
    image: the image (Wasm artifact) that contains its module; None if the module is a file of the container.
    network: its network namespace, if a later guest may use it (`empty_networks`), else -1; the caller closes it.
    """

    pid: int
    pidfd: int
    control: socket.socket
    backend: Backend
    reason: str
    enclosed: bool = False
    listens: bool = False
    serves: bool = False
    termination_signal: int = 0
    image: Descriptor | None = None
    network: Fd = NO_NETWORK
