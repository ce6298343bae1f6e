"""Who is measured: a shim, the kind of guest that it runs, and which engine is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pelagos_core.config.node_file import PATH_VARIABLE

# The engine that pelagos is asked for; other shims do not know the annotation.
BACKEND_ANNOTATION = "io.pelagos.wasm.runtime"


@dataclass(frozen=True, slots=True)
class Contender:
    """A containerd shim v2.

    native: it runs busybox, not WebAssembly. command: the program `pelagos` that belongs to it.
    environment: what its programs get beside containerd's own.
    """

    name: str
    shim: Path
    native: bool = False
    command: Path | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def backend(self) -> str:
        """The engine that is asked for; empty if it is left to Auto."""
        return self.annotations.get(BACKEND_ANNOTATION, "")

    def with_backend(self, backend: str, config: Path) -> Contender:
        """The same shim with a config file of its own, asked for one engine."""
        annotations = {**self.annotations, BACKEND_ANNOTATION: backend}
        environment = {**self.environment, PATH_VARIABLE: str(config)}
        return replace(self, name=f"{self.name}, {backend}", annotations=annotations, environment=environment)
