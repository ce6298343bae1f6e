"""The last steps of isolation: which system calls are left to a process."""

from __future__ import annotations

from dataclasses import dataclass

from pelagos_core.isolation import engine_profile
from pelagos_core.isolation.operation import Operation
from pelagos_core.isolation.seccomp import Filter, filter_of
from pelagos_core.native.instruction import Instruction
from pelagos_core.oci.seccomp import Seccomp


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of one container. What is None is not asked for.

    spec: of `linux.seccomp`, for whatever runs in it. embedded, program: for an engine that runs
    in the init process, or is started by it.
    """

    spec: Filter | None = None
    embedded: Filter | None = None
    program: Filter | None = None

    @classmethod
    def of(cls, profile: Seccomp | None, level: str) -> Filters:
        """The filters for a spec's profile at one of the levels of `policy.SECCOMP`. In the daemon.

        Raises InvalidArgument, or FailedPrecondition without libseccomp.
        """
        spec = filter_of(profile) if profile and level != "off" else None
        if level != "engine":
            return cls(spec)
        return cls(spec, filter_of(engine_profile.EMBEDDED), filter_of(engine_profile.PROGRAM))


NO_FILTERS = Filters()


@dataclass(frozen=True, slots=True)
class FilterSystemCalls(Operation):
    """Put a filter on the process for good, beside those that are on it: what all allow is left.

    whose: the profile that it was made of, for messages.
    """

    whose: str
    filter: Filter

    def describe(self) -> str:
        return f"seccomp: the {self.whose}'s profile, {self.filter.size} instructions"

    def instructions(self) -> tuple[Instruction, ...]:
        return (self.filter.installing(),)
