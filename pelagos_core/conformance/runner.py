"""Runs guests on the tested backend by `pelagos run`, and returns their exit codes and output."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pelagos_core.conformance import modules

_SECONDS = 60
_SHOWN = 4000
_PROGRESS = re.compile(r"^pelagos: compiling .*\n", re.MULTILINE)


@dataclass(frozen=True)
class Ended:
    """The result of a container: the exit code and the output of `pelagos run`."""

    code: int
    out: bytes
    err: str


class Runner:
    """Runs guests on the tested backend.

    Each command and its result are printed: pytest shows them if a test fails.
    """

    def __init__(self, directory: Path, backend: str, python: str = sys.executable) -> None:
        self.directory = directory
        self.backend = backend
        self.python = python

    def command(self, source: str | bytes, *args: str, flags: tuple[str, ...] = (), func: str = "") -> list[str]:
        """The command that runs a guest. source: WebAssembly as text or bytes. func: the function to call."""
        path = self.directory / "guest.wasm"
        path.write_bytes(source if isinstance(source, bytes) else modules.binary(source))
        return self._words(flags, f"{path}#{func}" if func else str(path), args)

    def __call__(
        self, source: str | bytes, *args: str, flags: tuple[str, ...] = (), func: str = "", stdin: bytes = b""
    ) -> Ended:
        """Run a guest until it ends."""
        return self._run(self.command(source, *args, flags=flags, func=func), input=stdin)

    def command_in(self, rootfs: Path, *args: str, flags: tuple[str, ...] = ()) -> list[str]:
        """The command that runs a program in a root file system. args: its argv."""
        return self._words(flags, str(rootfs), args)

    def run_in(self, rootfs: Path, *args: str, stdin: int, flags: tuple[str, ...] = ()) -> Ended:
        """Run a program in a root file system until it ends. stdin: a descriptor to read from."""
        return self._run(self.command_in(rootfs, *args, flags=flags), stdin=stdin)

    def explained(self, path: Path) -> dict[str, Any]:
        """The backend's answer for a file, from `pelagos backends --explain`: score, reason, kept."""
        words = [self.python, "-m", "pelagos_core", "backends", "--backend", self.backend, "--json", "--explain"]
        done = subprocess.run([*words, str(path)], capture_output=True, timeout=_SECONDS, check=False, cwd=path.parent)
        print(f"$ {shlex.join(words)} {path}\n{done.stdout!r}\n{done.stderr!r}")
        answer: dict[str, Any] = json.loads(done.stdout)["answers"][self.backend]
        return answer

    def _words(self, flags: tuple[str, ...], target: str, args: tuple[str, ...]) -> list[str]:
        return [self.python, "-m", "pelagos_core", "run", "--backend", self.backend, *flags, target, *args]

    def _run(self, words: list[str], **given: Any) -> Ended:  # noqa: ANN401 (subprocess.run has the types)
        done = subprocess.run(words, **given, capture_output=True, timeout=_SECONDS, check=False)
        # On a slow machine the command prints its progress: that is not the guest's output.
        said = _PROGRESS.sub("", done.stderr.decode(errors="replace"))
        ended = Ended(done.returncode, done.stdout, said)
        print(f"$ {shlex.join(words)[:_SHOWN]}\nexit code {ended.code}")
        if ended.out:
            print(f"stdout: {ended.out[:_SHOWN]!r}")
        if ended.err:
            print(f"stderr:\n{ended.err[-_SHOWN:]}")
        return ended
