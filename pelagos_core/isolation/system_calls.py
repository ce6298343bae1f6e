"""The system call filters of a container, and the step that installs one."""

from __future__ import annotations

from dataclasses import dataclass

from pelagos_core.config.policy import Policy
from pelagos_core.isolation import engine_profile
from pelagos_core.isolation.operation import Operation
from pelagos_core.isolation.seccomp import Filter, filter_of
from pelagos_core.native.instruction import Instruction
from pelagos_core.oci.seccomp import Seccomp


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of one container; None for one that is not installed.

    spec: of `linux.seccomp`, for all processes. embedded, program: for an engine in the init process, and
    for one that is a program. outbound: for a guest that must not listen.
    """

    spec: Filter | None = None
    embedded: Filter | None = None
    program: Filter | None = None
    outbound: Filter | None = None

    @classmethod
    def of(cls, profile: Seccomp | None, policy: Policy) -> Filters:
        """The filters for a spec's profile and a policy. In the daemon.

        Raises InvalidArgument, or FailedPrecondition without libseccomp.
        """
        spec = filter_of(profile) if profile and policy.seccomp != "off" else None
        outbound = None if policy.listens else filter_of(engine_profile.OUTBOUND)
        if not policy.confines_engines:
            return cls(spec, outbound=outbound)
        return cls(spec, filter_of(engine_profile.EMBEDDED), filter_of(engine_profile.PROGRAM), outbound)


NO_FILTERS = Filters()


@dataclass(frozen=True, slots=True)
class FilterSystemCalls(Operation):
    """Install a filter permanently, in addition to present ones. A call must be allowed by all of them.

    whose: source of its profile, for messages.
    """

    whose: str
    filter: Filter

    def describe(self) -> str:
        return f"seccomp: the {self.whose}'s profile, {self.filter.size} instructions"

    def instructions(self) -> tuple[Instruction, ...]:
        return (self.filter.installing(),)
