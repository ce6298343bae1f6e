"""The directories of the tests of WASI, on the host and in the guest."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

from pelagos_core.conformance.runner import Runner
from pelagos_core.conformance.wasi.guest import Guest
from pelagos_core.conformance.wasi.listener import source

WORK = "/work"
"""Their path in the container."""


@dataclass(frozen=True)
class Area:
    """An empty directory. fd: its descriptor in the guest. path: on the host. name: its path in the container."""

    guest: Guest
    fd: int
    path: Path
    name: str


class Areas:
    """Creates directories in a shared guest. If the guest has ended, another one is started.

    provided: the functions of WASI that the engine provides.
    """

    def __init__(self, run: Runner, provided: frozenset[str]) -> None:
        self._run = run
        self.provided = provided
        self._work = run.directory / "work"
        self._work.mkdir()
        self._numbers = itertools.count()
        self._guest: Guest | None = None

    def guest(self) -> Guest:
        """The shared guest."""
        if self._guest is None or not self._guest.is_alive:
            self.close()
            self._guest = self.start()
        return self._guest

    def start(self, *args: str, flags: tuple[str, ...] = ()) -> Guest:
        """Start a guest for one test."""
        words = ("--interactive", "--volume", f"{self._work}:{WORK}", *flags)
        return Guest(self._run.command(source(self.provided), *args, flags=words), self.provided)

    def make(self) -> Area:
        """Create a directory and open it in the guest."""
        name = f"area{next(self._numbers)}"
        (self._work / name).mkdir()
        guest = self.guest()
        return Area(guest, guest.directory(f"{WORK}/{name}"), self._work / name, f"{WORK}/{name}")

    def close(self) -> None:
        """End the guest."""
        if self._guest is not None:
            self._guest.close()
