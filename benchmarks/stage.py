"""The environment of a measurement: a directory, containerd's sockets, a parent cgroup."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from pathlib import Path

from benchmarks.client import EventsService, Wire

NAMESPACE = "bench"


@dataclass(frozen=True, slots=True)
class Settings:
    """The sizes of all measurements; see `FULL` and `QUICK`.

    idle_containers: the numbers of containers in one pod at which memory is measured, ascending.
    settle_seconds: the time between the last container's start and the measurement of memory; after five
        seconds a shim has freed what it keeps for the next start.
    serve_seconds: the duration of each load on a service.
    """

    rounds: int
    tasks: int
    pods: int
    commands: int
    starts: int
    idle_containers: tuple[int, ...]
    idle_pods: int
    scale_pods: int
    scale_containers: int
    idle_seconds: float
    settle_seconds: float
    work: int
    serve_seconds: int


FULL = Settings(
    rounds=5,
    tasks=200,
    pods=15,
    commands=15,
    starts=20,
    idle_containers=(10, 50),
    idle_pods=10,
    scale_pods=50,
    scale_containers=500,
    idle_seconds=30,
    settle_seconds=6,
    work=60,
    serve_seconds=3,
)
QUICK = Settings(
    rounds=1,
    tasks=30,
    pods=3,
    commands=3,
    starts=5,
    idle_containers=(10, 50),
    idle_pods=3,
    scale_pods=5,
    scale_containers=20,
    idle_seconds=2,
    settle_seconds=6,
    work=2,
    serve_seconds=1,
)


class Stage:
    """The environment of one measurement. Created in the sandbox, in which no other processes run."""

    def __init__(self, directory: Path, name: str, settings: Settings) -> None:
        """Arguments: name: the parent of all containers' cgroups; unique to this run."""
        self.directory = directory
        self.name = name
        self.settings = settings
        self.wire = Wire()
        self.events = EventsService(directory / "events.sock", self.wire)
        self._numbers = itertools.count(1)

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *exception: object) -> None:
        self.wire.close()

    def fresh(self, kind: str) -> str:
        """A new, unique name."""
        return f"{kind}{next(self._numbers)}"

    def environment(self) -> dict[str, str]:
        """The environment variables that containerd passes to a shim."""
        return {
            **os.environ,
            "TTRPC_ADDRESS": self.events.address,
            "GRPC_ADDRESS": str(self.directory / "containerd.sock"),
            "NAMESPACE": NAMESPACE,
            "MAX_SHIM_VERSION": "2",
        }
