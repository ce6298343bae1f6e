"""The steps that make a process what its spec says: directory, limits, labels, user, privileges."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, fields

from pelagos_core.isolation import scheduling
from pelagos_core.isolation.operation import Operation
from pelagos_core.isolation.state import State
from pelagos_core.linux import capabilities, credentials, forked, process_name, security_labels
from pelagos_core.native.instruction import Instruction, instruction
from pelagos_core.oci import Capabilities, IoPriority, Rlimit, Scheduler, User


@dataclass(frozen=True, slots=True)
class TakeName(Operation):
    """Be called as a program would be that was executed with these words.

    At once, while /proc is the host's: what is shown is in memory that a second stage copies. An
    engine that is a program has its own words as soon as it is executed.
    """

    name: str
    words: tuple[str, ...]

    def describe(self) -> str:
        return f"be called {self.name}"

    def details(self) -> str:
        return f"with {len(self.words)} words"  # they may hold a secret, and the log has other readers

    def execute(self, state: State) -> None:
        process_name.set_name(self.name, list(self.words))


@dataclass(frozen=True, slots=True)
class RestoreSignals(Operation):
    """Undo the daemon's handlers, before the descriptor that they write to is closed."""

    def describe(self) -> str:
        return "restore signals"

    def execute(self, state: State) -> None:
        forked.restore_signals()


@dataclass(frozen=True, slots=True)
class NewSession(Operation):
    """Lead a session: a signal to the daemon's process group is not one to this process."""

    def describe(self) -> str:
        return "new session"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("new_session"),)


@dataclass(frozen=True, slots=True)
class SetUmask(Operation):
    """Set the umask; with 0, what is made for a container has the very mode that is asked for."""

    mask: int

    def describe(self) -> str:
        return f"umask {self.mask:03o}"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("set_umask", self.mask),)


@dataclass(frozen=True, slots=True)
class DieWithShim(Operation):
    """Have the kernel kill this process when the shim ends."""

    def describe(self) -> str:
        return "die with the shim"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("die_with_parent", signal.SIGKILL),)


@dataclass(frozen=True, slots=True)
class SetOomScore(Operation):
    """Set how likely the kernel is to choose the process when memory runs out.

    required: where it cannot be set, as with a read-only /proc, that is an error.
    """

    score: int
    required: bool = True

    def describe(self) -> str:
        return f"OOM score adjustment {self.score}"

    def execute(self, state: State) -> None:
        try:
            scheduling.set_oom_score(self.score)
        except OSError:
            if self.required:
                raise


@dataclass(frozen=True, slots=True)
class SetRlimits(Operation):
    """Set resource limits, soft and hard."""

    rlimits: tuple[Rlimit, ...]

    def describe(self) -> str:
        return f"limits {', '.join(f'{each.type} {each.soft}:{each.hard}' for each in self.rlimits)}"

    def execute(self, state: State) -> None:
        scheduling.limit(self.rlimits)


@dataclass(frozen=True, slots=True)
class AllowRlimits(Operation):
    """Raise hard limits while that is allowed: the root of a user namespace may not."""

    rlimits: tuple[Rlimit, ...]

    def describe(self) -> str:
        return f"hard limits {', '.join(f'{each.type} {each.hard}' for each in self.rlimits)}"

    def execute(self, state: State) -> None:
        scheduling.allow(self.rlimits)


@dataclass(frozen=True, slots=True)
class BecomeRoot(Operation):
    """Become root of the new user namespace."""

    def describe(self) -> str:
        return "become root of the user namespace"

    def execute(self, state: State) -> None:
        credentials.become_root()


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

    def execute(self, state: State) -> None:
        scheduling.schedule(self.scheduler)


@dataclass(frozen=True, slots=True)
class SetIoPriority(Operation):
    """Set the priority for input and output."""

    priority: IoPriority

    def describe(self) -> str:
        return f"process.ioPriority: {self.priority.io_class} {self.priority.priority}"

    def execute(self, state: State) -> None:
        scheduling.set_io_priority(self.priority)


@dataclass(frozen=True, slots=True)
class SetPersonality(Operation):
    """Set the execution domain."""

    domain: str

    def describe(self) -> str:
        return f"linux.personality: {self.domain}"

    def execute(self, state: State) -> None:
        scheduling.set_personality(self.domain)


@dataclass(frozen=True, slots=True)
class OpenLabel(Operation):
    """Open the file through which a security module is told of the process' label.

    executed: the label is for a program that execve(2) starts.
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

    def execute(self, state: State) -> None:
        state.descriptors[self.field] = security_labels.open_label(self.field, self.value, executed=self.executed)


@dataclass(frozen=True, slots=True)
class CheckMountLabel(Operation):
    """See that the host can give mounts an SELinux label."""

    label: str

    def describe(self) -> str:
        return f"linux.mountLabel: {self.label}"

    def execute(self, state: State) -> None:
        security_labels.check_selinux("linux.mountLabel", self.label)


@dataclass(frozen=True, slots=True)
class ApplyLabel(Operation):
    """Confine the process to a label, when all that the label might forbid is done; arguments as of OpenLabel."""

    field: str
    value: str
    executed: bool

    def reads(self) -> tuple[str, ...]:
        return (self.field,)

    def describe(self) -> str:
        return f"apply {self.field}: {self.value}"

    def execute(self, state: State) -> None:
        security_labels.write_label(state.take(self.field), self.field, self.value, executed=self.executed)


@dataclass(frozen=True, slots=True)
class EnterWorkingDirectory(Operation):
    """Change into the process' working directory, while nothing bars the way into it."""

    path: str

    def describe(self) -> str:
        return f"enter {self.path}"

    def execute(self, state: State) -> None:
        os.chdir(self.path)
        os.getcwd()  # fails in a directory outside the root


@dataclass(frozen=True, slots=True)
class NewSessionKeyring(Operation):
    """Leave the daemon's keys behind: session keyrings are inherited."""

    def describe(self) -> str:
        return "new session keyring"

    def execute(self, state: State) -> None:
        credentials.leave_session_keyring()


@dataclass(frozen=True, slots=True)
class BecomeUser(Operation):
    """Take on the process' user, groups and capabilities."""

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

    def execute(self, state: State) -> None:
        credentials.become(self.user, self.capabilities, capabilities.permitted())


@dataclass(frozen=True, slots=True)
class ForbidNewPrivileges(Operation):
    """Set no_new_privs."""

    def describe(self) -> str:
        return "no new privileges"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("forbid_new_privileges"),)
