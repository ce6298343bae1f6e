"""The limits of a guest that its engine can enforce."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from pelagos_core.config.policy import Policy
from pelagos_core.oci import Spec

MEMORY_RESERVE = 8  # one eighth of the cgroup's limit is reserved for the engine itself
_UNLIMITED = 1 << 62  # cgroup v1 has no word for "no limit": it reports a number near 2**63
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits for one guest; None means no limit.

    memory: bytes of linear memory, one eighth below the cgroup's limit, so that `memory.grow`
        fails before the kernel kills the container. The cgroup enforces its own limit in any case.
    fuel: units of execution, as the engine counts them. Only the engine can enforce it.
    request: seconds for one HTTP request. Only the engine can enforce it.
    """

    memory: int | None = None
    fuel: int | None = None
    request: float | None = None

    @classmethod
    def of(cls, spec: Spec, policy: Policy) -> Limits:
        """The limits that a spec and a policy set."""
        limit = spec.memory_limit
        return cls(_for_guest(limit) if limit is not None else None, policy.fuel, policy.http_timeout)

    @property
    def required(self) -> frozenset[str]:
        """The names of the limits that are set and that only the engine can enforce."""
        only = {"fuel": self.fuel, "request": self.request}
        return frozenset(name for name, value in only.items() if value is not None)


class LiveMemory:
    """The current limit of a guest's memory. Used in the process that runs the guest.

    The container's limit is read from the control group at each call. An open control file can be read from any
    mount namespace, so a value that Update has written applies to the next growth, whether higher or lower.
    """

    def __init__(self, file: int, refused: Callable[[int, int], None]) -> None:
        """Arguments: file: a descriptor of the limit's control file. refused: called at the first refusal, with the
        requested size and the container's limit in bytes.
        """
        self._file = file
        self._refused: Callable[[int, int], None] | None = refused

    def allows(self, size: int) -> bool:
        """Whether the guest's linear memories may have `size` bytes in total. The first refusal is reported."""
        text = os.pread(self._file, 32, 0).strip()
        limit = int(text) if text.isdigit() else _UNLIMITED  # cgroup v2 writes `max`
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
"""The message of a refusal. Between its parts are three numbers in MiB: requested, container's limit, guest's share."""


def refusal(asked: int, limit: int) -> str:
    """The message of a refusal. asked: the requested size in bytes. limit: the container's limit in bytes."""
    numbers = (_mib(asked), _mib(limit), _mib(_for_guest(limit)), "")
    return "".join(f"{text}{number}" for text, number in zip(REFUSAL, numbers, strict=True))


def _for_guest(limit: int) -> int:
    return limit - limit // MEMORY_RESERVE


def _mib(size: int) -> str:
    return f"{size / _MIB:.1f}".removesuffix(".0")
