"""The steps that set a process' attributes: name, directory, limits, labels, user, privileges."""

from __future__ import annotations

import signal
import struct
from dataclasses import dataclass, fields
from typing import ClassVar

from pelagos_core.errors import PelagosError
from pelagos_core.isolation import scheduling, security_labels
from pelagos_core.isolation.operation import Operation
from pelagos_core.linux import capabilities
from pelagos_core.native import process_name
from pelagos_core.native.instruction import Instruction, Slot, instruction
from pelagos_core.native.process import Failure
from pelagos_core.oci import Capabilities, IoPriority, Rlimit, Scheduler, User

_UMASK = 0o022  # runc's default, for a spec without one


@dataclass(frozen=True, slots=True)
class TakeName(Operation):
    """Set the name and command line that execve(2) would give a program with these arguments.

    Executed first, while /proc is the host's: a second stage inherits the memory with the new command line. An engine
    that is a program gets its own command line by execve(2).
    """

    is_common: ClassVar[bool] = False
    name: str
    words: tuple[str, ...]

    def describe(self) -> str:
        return f"set the process name to {self.name}"

    def details(self) -> str:
        return f"with {len(self.words)} words"  # the words may be secret, and are not logged

    def instructions(self) -> tuple[Instruction, ...]:
        return (process_name.taking(self.name, self.words),)


@dataclass(frozen=True, slots=True)
class RestoreSignals(Operation):
    """Restore the default actions, before the descriptor to which the daemon's handlers write is closed."""

    def describe(self) -> str:
        return "restore signals"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("restore_signals"),)


@dataclass(frozen=True, slots=True)
class NewSession(Operation):
    """Create a session, so that a signal to the daemon's process group does not reach this process."""

    def describe(self) -> str:
        return "new session"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("new_session"),)


@dataclass(frozen=True, slots=True)
class SetUmask(Operation):
    """Set the umask; 0 while the root is assembled, so that files get exactly the requested mode."""

    mask: int

    def describe(self) -> str:
        return f"umask {self.mask:03o}"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("set_umask", self.mask),)


@dataclass(frozen=True, slots=True)
class DieWithShim(Operation):
    """Set the parent-death signal: the kernel kills this process when the shim ends (prctl(2), PR_SET_PDEATHSIG)."""

    def describe(self) -> str:
        return "end with the shim"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("die_with_parent", signal.SIGKILL),)


@dataclass(frozen=True, slots=True)
class SetOomScore(Operation):
    """Set the OOM score adjustment.

    EPERM and EACCES are ignored: else no process could run without CAP_SYS_RESOURCE, as in a container.
    required: whether any other failure, such as a read-only /proc, is an error.
    """

    score: int
    required: bool = True

    def describe(self) -> str:
        return f"OOM score adjustment {self.score}"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("set_oom_score", self.score, int(self.required)),)


@dataclass(frozen=True, slots=True)
class SetRlimits(Operation):
    """Set resource limits, soft and hard."""

    rlimits: tuple[Rlimit, ...]

    def describe(self) -> str:
        return f"limits {', '.join(f'{each.type} {each.soft}:{each.hard}' for each in self.rlimits)}"

    def instructions(self) -> tuple[Instruction, ...]:
        return tuple(map(scheduling.limiting, self.rlimits))

    def failure(self, failed: Failure) -> PelagosError:
        return scheduling.limit_refused(self.rlimits[failed.step], failed)


@dataclass(frozen=True, slots=True)
class AllowRlimits(Operation):
    """Raise hard limits, before the process enters a user namespace: its root may not raise them."""

    rlimits: tuple[Rlimit, ...]

    def describe(self) -> str:
        return f"hard limits {', '.join(f'{each.type} {each.hard}' for each in self.rlimits)}"

    def instructions(self) -> tuple[Instruction, ...]:
        return tuple(map(scheduling.allowing, self.rlimits))

    def failure(self, failed: Failure) -> PelagosError:
        return scheduling.limit_refused(self.rlimits[failed.step], failed)


@dataclass(frozen=True, slots=True)
class BecomeRoot(Operation):
    """Switch to uid and gid 0 of the new user namespace."""

    def describe(self) -> str:
        return "become root of the user namespace"

    def instructions(self) -> tuple[Instruction, ...]:
        return (_becoming(User()),)


@dataclass(frozen=True, slots=True)
class SetScheduler(Operation):
    """Set the scheduling policy."""

    scheduler: Scheduler

    def describe(self) -> str:
        return f"process.scheduler: {self.scheduler.policy}"

    def details(self) -> str:
        scheduler = self.scheduler
        numbers = {"nice": scheduler.nice, "priority": scheduler.priority, "runtime": scheduler.runtime}
        numbers |= {"deadline": scheduler.deadline, "period": scheduler.period}
        return ", ".join([*scheduler.flags, *(f"{name} {number}" for name, number in numbers.items() if number)])

    def instructions(self) -> tuple[Instruction, ...]:
        return (scheduling.scheduling(self.scheduler),)


@dataclass(frozen=True, slots=True)
class SetIoPriority(Operation):
    """Set the I/O priority."""

    priority: IoPriority

    def describe(self) -> str:
        return f"process.ioPriority: {self.priority.io_class} {self.priority.priority}"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("set_io_priority", scheduling.io_priority(self.priority)),)


@dataclass(frozen=True, slots=True)
class SetPersonality(Operation):
    """Set the execution domain."""

    domain: str

    def describe(self) -> str:
        return f"linux.personality: {self.domain}"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("set_personality", scheduling.personality(self.domain)),)


@dataclass(frozen=True, slots=True)
class OpenLabel(Operation):
    """Open the file for the process' security label, while the host's /proc is accessible.

    executed: the label takes effect at execve(2), not at once.
    """

    field: str
    value: str
    executed: bool

    def writes(self) -> tuple[str, ...]:
        return (self.field,)

    def describe(self) -> str:
        return f"{self.field}: {self.value}"

    def details(self) -> str:
        return "at execve" if self.executed else ""

    def instructions(self) -> tuple[Instruction, ...]:
        module = security_labels.module_of(self.field)
        return (module.required(), instruction("open_first", Slot(self.field), *module.files(executed=self.executed)))

    def failure(self, failed: Failure) -> PelagosError:
        if failed.step == 0:
            return security_labels.module_of(self.field).missing(self.field, self.value)
        return security_labels.refused(self.field, self.value, failed)


@dataclass(frozen=True, slots=True)
class CheckMountLabel(Operation):
    """Check that the host supports SELinux labels on mounts."""

    label: str

    def describe(self) -> str:
        return f"linux.mountLabel: {self.label}"

    def instructions(self) -> tuple[Instruction, ...]:
        return (security_labels.SELINUX.required(),)

    def failure(self, failed: Failure) -> PelagosError:
        return security_labels.SELINUX.missing("linux.mountLabel", self.label)


@dataclass(frozen=True, slots=True)
class ApplyLabel(Operation):
    """Write the label, after all steps that it could forbid. Arguments as in OpenLabel."""

    field: str
    value: str
    executed: bool

    def reads(self) -> tuple[str, ...]:
        return (self.field,)

    def describe(self) -> str:
        return f"apply {self.field}: {self.value}"

    def instructions(self) -> tuple[Instruction, ...]:
        text = security_labels.module_of(self.field).text(self.value, executed=self.executed)
        return (instruction("write_slot", Slot(self.field), text.encode()),)

    def failure(self, failed: Failure) -> PelagosError:
        return security_labels.refused(self.field, self.value, failed)


@dataclass(frozen=True, slots=True)
class EnterWorkingDirectory(Operation):
    """Change to the working directory. Before the change of user: the user may lack permission for its path."""

    path: str

    def describe(self) -> str:
        return f"enter {self.path}"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("enter_working_directory", self.path),)


@dataclass(frozen=True, slots=True)
class NewSessionKeyring(Operation):
    """Join a new session keyring: else the process inherits the daemon's."""

    def describe(self) -> str:
        return "new session keyring"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("new_session_keyring"),)


@dataclass(frozen=True, slots=True)
class BecomeUser(Operation):
    """Switch permanently to the process' user, groups and capabilities."""

    user: User
    capabilities: Capabilities

    def describe(self) -> str:
        return f"become user {self.user.uid}:{self.user.gid}"

    def details(self) -> str:
        groups = [f"groups {', '.join(map(str, self.user.additional_gids))}"] if self.user.additional_gids else []
        umask = [f"umask {self.user.umask:03o}"] if self.user.umask is not None else []
        sets = {each.name: sorted(getattr(self.capabilities, each.name)) for each in fields(self.capabilities)}
        kept = [f"{name}: {', '.join(names)}" for name, names in sets.items() if names]
        return "; ".join([*groups, *umask, *(kept or ["no capabilities"])])

    def instructions(self) -> tuple[Instruction, ...]:
        sets = self.capabilities
        masks = map(capabilities.mask, (sets.effective, sets.permitted, sets.inheritable, sets.ambient))
        umask = _UMASK if self.user.umask is None else self.user.umask
        return (
            instruction("limit_bounding_set", capabilities.mask(sets.bounding)),
            instruction("keep_capabilities", 1),
            _becoming(self.user),
            instruction("keep_capabilities", 0),
            instruction("set_capabilities", *masks),
            instruction("set_umask", umask),
        )


@dataclass(frozen=True, slots=True)
class ForbidNewPrivileges(Operation):
    """Set no_new_privs."""

    def describe(self) -> str:
        return "no new privileges"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("forbid_new_privileges"),)


def _becoming(user: User) -> Instruction:
    groups = struct.pack(f"={len(user.additional_gids)}I", *user.additional_gids)
    return instruction("set_user", user.uid, user.gid, groups)
