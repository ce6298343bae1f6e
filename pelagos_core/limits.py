"""What a container may use, as far as the engine itself can hold it to that."""

from __future__ import annotations

from dataclasses import dataclass

from pelagos_core.policy import Policy
from pelagos_core.spec import Spec

_MEMORY_RESERVE = 8  # an eighth of the cgroup's limit is left for the engine itself


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for one guest; None where there is none.

    memory: bytes of linear memory, a little below the cgroup's limit, so that `memory.grow`
        fails instead of the kernel killing the container. The cgroup holds it in any case.
    fuel: units of execution, in the engine's own measure. Nobody but the engine can hold it.
    """

    memory: int | None = None
    fuel: int | None = None

    @classmethod
    def of(cls, spec: Spec, policy: Policy) -> Limits:
        """The limits that a spec and a policy ask for."""
        limit = spec.memory_limit
        memory = limit - limit // _MEMORY_RESERVE if limit is not None else None
        return cls(memory, policy.fuel)

    @property
    def required(self) -> frozenset[str]:
        """The limits that the engine must hold, because nobody else can."""
        return frozenset({"fuel"} if self.fuel is not None else ())
