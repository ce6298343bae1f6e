"""What a container may use, as far as the engine itself can hold it to that."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from pelagos_core.config.policy import Policy
from pelagos_core.oci import Spec

MEMORY_RESERVE = 8  # an eighth of the cgroup's limit is left for the engine itself
_UNLIMITED = 1 << 62  # cgroup v1 has no word for it, but a number of pages that is never reached
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for one guest; None where there is none.

    memory: bytes of linear memory, a little below the cgroup's limit, so that `memory.grow`
        fails instead of the kernel killing the container. The cgroup holds it in any case.
    fuel: units of execution, in the engine's own measure. Only the engine can hold it.
    request: seconds for one HTTP request. Only the engine can hold it.
    """

    memory: int | None = None
    fuel: int | None = None
    request: float | None = None

    @classmethod
    def of(cls, spec: Spec, policy: Policy) -> Limits:
        """The limits that a spec and a policy ask for."""
        limit = spec.memory_limit
        return cls(_for_guest(limit) if limit is not None else None, policy.fuel, policy.http_timeout)

    @property
    def required(self) -> frozenset[str]:
        """The limits that only the engine can hold."""
        only = {"fuel": self.fuel, "request": self.request}
        return frozenset(name for name, value in only.items() if value is not None)


class LiveMemory:
    """The memory that a guest may have now; in the process that runs it.

    Its container's limit is read from the control group at each question. An open file is read from wherever
    the process is, so what Update has written holds for the next growth, be it more or less.
    """

    def __init__(self, file: int, refused: Callable[[int, int], None]) -> None:
        """file: the control file of the limit. refused: told once of bytes asked for, and the container's limit."""
        self._file = file
        self._refused: Callable[[int, int], None] | None = refused

    def allows(self, size: int) -> bool:
        """Whether its linear memories may be `size` bytes together. The first refusal is reported."""
        text = os.pread(self._file, 32, 0).strip()
        limit = int(text) if text.isdigit() else _UNLIMITED  # it is `max`
        if limit >= _UNLIMITED or size <= _for_guest(limit):
            return True
        if self._refused:
            self._refused(size, limit)
            self._refused = None
        return False


REFUSAL = (
    "the guest asked for ",
    " MiB of memory; the container's limit is ",
    " MiB (",
    " MiB of it for the guest, the rest for its engine)",
)
"""What is told of a refusal. Between these are MiB: what was asked for, the container's limit, the guest's share."""


def refusal(asked: int, limit: int) -> str:
    """The line that reports a refusal. asked, limit: bytes."""
    numbers = (_mib(asked), _mib(limit), _mib(_for_guest(limit)), "")
    return "".join(f"{text}{number}" for text, number in zip(REFUSAL, numbers, strict=True))


def _for_guest(limit: int) -> int:
    return limit - limit // MEMORY_RESERVE


def _mib(size: int) -> str:
    return f"{size / _MIB:.1f}".removesuffix(".0")
