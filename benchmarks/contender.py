"""Who is measured: a shim, the kind of guest that it runs, and which engine is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

# The engine that pelagos is asked for; other shims do not know the annotation.
BACKEND_ANNOTATION = "io.pelagos.wasm.runtime"


@dataclass(frozen=True, slots=True)
class Contender:
    """A containerd shim v2.

    native: it runs busybox, not WebAssembly. command: the program `pelagos` that belongs to it.
    """

    name: str
    shim: Path
    native: bool = False
    command: Path | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)

    def with_backend(self, backend: str) -> Contender:
        """The same shim, asked for one engine."""
        return replace(
            self, name=f"{self.name}, {backend}", annotations={**self.annotations, BACKEND_ANNOTATION: backend}
        )
