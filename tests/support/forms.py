"""All engines of this repository in each of their forms, for `pelagos run`."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scripts import engines
from tests.support import leftovers
from tests.support.loader import environment_under


@dataclass(frozen=True)
class Form:
    """One engine in one form: the backend's name, an interpreter, and the node's config."""

    backend: str
    python: str = sys.executable
    config: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    def run(
        self, directory: Path, *words: str, config: str = "", stdin: bytes = b"", timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run `pelagos run` with these words. config: text before the engine's config."""
        words = ("run", "--backend", self.backend, *words)
        return self.pelagos(directory, *words, config=config, stdin=stdin, timeout=timeout)

    def pelagos(
        self, directory: Path, *words: str, config: str = "", stdin: bytes = b"", timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run `pelagos` with these words and the engine's config."""
        (directory / "config.toml").write_text(f"{config}\n{self.config}")
        return subprocess.run(
            [self.python, "-m", "pelagos_core", *words],
            env={**os.environ, "PELAGOS_CONFIG": str(directory / "config.toml")},
            input=stdin.decode(),
            capture_output=True,
            encoding="utf-8",
            errors="replace",  # a random module may print bytes that are not UTF-8
            timeout=timeout,
        )


@functools.cache
def _wasmedge_embedded() -> Form:
    root = engines.DIRECTORY / "wasmedge"
    library = next(root.glob("usr/lib/*/libwasmedge.so.0"))
    python = environment_under(root, leftovers.lasting_directory())
    return Form("wasmedge", python, f'[backends.wasmedge]\nform = "embedded"\nlibrary = "{library}"\n')


FORMS = {
    "wasmtime": lambda: Form("wasmtime"),
    "wasmedge-program": lambda: Form("wasmedge", config=engines.config()),
    "wasmedge-embedded": _wasmedge_embedded,
    "wasmer-program": lambda: Form("wasmer", config=f'{engines.config()}form = "program"\n'),
}
ALL = [pytest.param(name, marks=[] if name == "wasmtime" else pytest.mark.engines, id=name) for name in FORMS]
