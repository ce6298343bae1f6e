"""Running a guest on the backend that is tried: `pelagos run`, and what becomes of it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from pelagos_core.conformance import modules

_SECONDS = 60


@dataclass(frozen=True)
class Ended:
    """How a container ended: `pelagos run`'s exit code, and its output."""

    code: int
    out: bytes
    err: str


class Runner:
    """Runs guests on the backend that is tried."""

    def __init__(self, directory: Path, backend: str, python: str = sys.executable) -> None:
        self.directory = directory
        self.backend = backend
        self.python = python

    def command(self, source: str | bytes, *args: str, flags: tuple[str, ...] = (), func: str = "") -> list[str]:
        """The command that runs a guest, given as text or bytes."""
        path = self.directory / "guest.wasm"
        path.write_bytes(source if isinstance(source, bytes) else modules.binary(source))
        target = f"{path}#{func}" if func else str(path)
        return [self.python, "-m", "pelagos_core", "run", "--backend", self.backend, *flags, target, *args]

    def __call__(
        self, source: str | bytes, *args: str, flags: tuple[str, ...] = (), func: str = "", stdin: bytes = b""
    ) -> Ended:
        """Run a guest to its end."""
        done = subprocess.run(
            self.command(source, *args, flags=flags, func=func),
            input=stdin,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr.decode(errors="replace"))
