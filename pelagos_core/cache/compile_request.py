"""One compilation: what is to be compiled, by which backend, and within which limits."""

from __future__ import annotations

from dataclasses import dataclass

from pelagos_core.backends.registry import Backend
from pelagos_core.cache import key
from pelagos_core.cache.key import Key
from pelagos_core.config.node_file import CacheSettings
from pelagos_core.plugin.entrypoint import Entrypoint, kind_of
from pelagos_core.plugin.limits import Limits


@dataclass(frozen=True, slots=True)
class CompileRequest:
    """What is to be compiled, for the daemon or for `pelagos cache warm`.

    path: the entry point's, for messages. settings: the backend's part of the key.
    file: a descriptor of the module. Its bytes may still change: only a copy counts.
    confined: whether the compiler has the system calls of its profile only.
    """

    backend: Backend
    path: str
    settings: str
    file: int
    limits: Limits
    cache: CacheSettings
    confined: bool = True

    def key(self, module: str) -> Key:
        """The key of the code for a module of this digest."""
        said = self.backend.description
        return Key(
            module=module,
            backend=f"{self.backend.name} {self.backend.version}",
            engine=f"{said.engine} {said.version}".strip(),
            settings=self.settings,
            cpu=key.cpu(),
        )

    def entrypoint(self, module: int) -> Entrypoint:
        """What the backend is given: the module alone, since code must depend on nothing else."""
        return Entrypoint(kind_of(module), self.path, "", (self.path,), (), "/", module, self.limits)
