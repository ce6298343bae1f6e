"""What is launched, and what comes of it: the two ends of a conversation."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pelagos_core.backends.registry import Backend
from pelagos_core.backends.selection import Selection
from pelagos_core.config.node_file import CacheSettings
from pelagos_core.isolation.plan import Plan
from pelagos_core.launch.init import JoinTarget
from pelagos_core.plugin.bundle import Bundle


class Streams(Protocol):
    """The open streams of the process: what a launch needs of them."""

    @property
    def child(self) -> tuple[int, int, int]:
        """The descriptors for the process' 0, 1 and 2."""

    def adopt(self, master: int) -> None:
        """Use a terminal that the process has made in its container. Takes over the descriptor."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What is launched, and what the conversation tells meanwhile.

    name: what errors call the process. bundle: the container's, with this process in `spec.process`.
    cache: of compiled code. forked: called with the pid of each process that is forked.
    find_target: tells the container to join, before each fork; None to make one.
    """

    name: str
    bundle: Bundle
    plan: Plan
    selection: Selection
    cache: CacheSettings
    streams: Streams
    forked: Callable[[int], None]
    find_target: Callable[[], JoinTarget] | None = None


@dataclass(frozen=True, slots=True)
class Launched:
    """A child of the daemon that is isolated and loaded, and waits for the go-ahead.

    pidfd, control: the receiver closes them, and reaps the child. backend, reason: what runs it, and why.
    enclosed: whether the container's root is below an engine root. listens: whether the process goes on
    sending messages by `control`. termination_signal: a signal that has ended it already, or 0.
    """

    pid: int
    pidfd: int
    control: socket.socket
    backend: Backend
    reason: str
    enclosed: bool = False
    listens: bool = False
    termination_signal: int = 0
