"""Where the tests of WASI work: directories on the host, and the guest that has them open."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

from pelagos_core.conformance.runner import Runner
from pelagos_core.conformance.wasi.guest import Guest
from pelagos_core.conformance.wasi.listener import source

WORK = "/work"
"""Where they are in the container."""


@dataclass(frozen=True)
class Area:
    """An empty directory. fd: in the guest. path: on the host. name: in the container."""

    guest: Guest
    fd: int
    path: Path
    name: str


class Areas:
    """Makes directories, in one guest that is started anew when it has ended.

    provided: the functions of WASI that the engine has.
    """

    def __init__(self, run: Runner, provided: frozenset[str]) -> None:
        self._run = run
        self.provided = provided
        self._work = run.directory / "work"
        self._work.mkdir()
        self._numbers = itertools.count()
        self._guest: Guest | None = None

    def guest(self) -> Guest:
        """The guest that tests share."""
        if self._guest is None or not self._guest.is_alive:
            self.close()
            self._guest = self.start()
        return self._guest

    def start(self, *args: str, flags: tuple[str, ...] = ()) -> Guest:
        """Start a guest for one test."""
        words = ("--interactive", "--volume", f"{self._work}:{WORK}", *flags)
        return Guest(self._run.command(source(self.provided), *args, flags=words), self.provided)

    def make(self) -> Area:
        """A new directory, open in the guest."""
        name = f"area{next(self._numbers)}"
        (self._work / name).mkdir()
        guest = self.guest()
        return Area(guest, guest.directory(f"{WORK}/{name}"), self._work / name, f"{WORK}/{name}")

    def close(self) -> None:
        """End the guest."""
        if self._guest is not None:
            self._guest.close()
