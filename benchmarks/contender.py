"""A contender of the benchmark: a shim, the kind of guest that it runs, and the requested engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pelagos_core.config.node_file import PATH_VARIABLE

# The annotation that requests an engine of pelagos; other shims ignore it.
BACKEND_ANNOTATION = "io.pelagos.wasm.runtime"


@dataclass(frozen=True, slots=True)
class Contender:
    """A containerd shim v2.

    native: whether it runs busybox instead of WebAssembly.
    command: the program `pelagos` that belongs to it.
    environment: variables of its programs, in addition to containerd's.
    """

    name: str
    shim: Path
    native: bool = False
    command: Path | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def backend(self) -> str:
        """The requested engine; empty for `auto`."""
        return self.annotations.get(BACKEND_ANNOTATION, "")

    def with_backend(self, backend: str, config: Path) -> Contender:
        """The same shim with its own config file and a requested engine."""
        annotations = {**self.annotations, BACKEND_ANNOTATION: backend}
        environment = {**self.environment, PATH_VARIABLE: str(config)}
        return replace(self, name=f"{self.name}, {backend}", annotations=annotations, environment=environment)
