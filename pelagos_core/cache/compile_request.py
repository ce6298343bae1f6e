"""The request of one compilation: the module, the backend and the limits."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pelagos_core.backends.registry import Backend
from pelagos_core.cache import key
from pelagos_core.cache.key import Key
from pelagos_core.config.node_file import CacheSettings
from pelagos_core.plugin.entrypoint import Entrypoint, kind_of
from pelagos_core.plugin.limits import Limits


@dataclass(frozen=True, slots=True)
class CompileRequest:
    """A compilation for the daemon or for `pelagos cache warm`.

    path: the entry point's path, for messages.
    settings: the backend's part of the key.
    file: a descriptor of the module. Its bytes may still change: the service copies them first.
    confined: whether the compiler runs under its system call filter.
    network: whether the guest has a network; a backend may choose its form by it.
    """

    backend: Backend
    path: str
    settings: str
    file: int
    limits: Limits
    cache: CacheSettings
    confined: bool = True
    network: bool = False

    def key(self, module: str) -> Key:
        """The key of the compiled code. module: the sha256 of the module, in hex."""
        said = self.backend.description
        return Key(
            module=module,
            backend=f"{self.backend.name} {self.backend.version}",
            engine=f"{said.engine} {said.version}".strip(),
            settings=self.settings,
            cpu=key.cpu(),
        )

    def entrypoint(self, module: int) -> Entrypoint:
        """The entry point for the backend. It has only the module: the code must not depend on anything else.

        module: a descriptor of the copied module.
        """
        made = Entrypoint(kind_of(module), self.path, "", (self.path,), (), "/", module, self.limits)
        return replace(made, network=self.network)
