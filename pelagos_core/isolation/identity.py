"""The steps that make a process what its spec says: directory, limits, labels, user, privileges."""

from __future__ import annotations

import os
from dataclasses import dataclass

from pelagos_core.isolation import scheduling
from pelagos_core.isolation.operation import Operation
from pelagos_core.linux import capabilities, credentials, security_labels
from pelagos_core.linux.security_labels import Label
from pelagos_core.oci import Capabilities, IoPriority, Rlimit, Scheduler, User
from pelagos_core.rootfs.root import Root


@dataclass(frozen=True, slots=True)
class SetOomScore(Operation):
    """Set how likely the kernel is to choose the process when memory runs out."""

    score: int

    def describe(self) -> str:
        return f"OOM score adjustment {self.score}"

    def execute(self, root: Root) -> None:
        scheduling.set_oom_score(self.score)


@dataclass(frozen=True, slots=True)
class SetRlimits(Operation):
    """Set resource limits, soft and hard."""

    rlimits: tuple[Rlimit, ...]

    def describe(self) -> str:
        return f"limits {', '.join(rlimit.type for rlimit in self.rlimits)}"

    def execute(self, root: Root) -> None:
        scheduling.limit(self.rlimits)


@dataclass(frozen=True, slots=True)
class AllowRlimits(Operation):
    """Raise hard limits while that is allowed: the root of a user namespace may not."""

    rlimits: tuple[Rlimit, ...]

    def describe(self) -> str:
        return f"hard limits {', '.join(rlimit.type for rlimit in self.rlimits)}"

    def execute(self, root: Root) -> None:
        scheduling.allow(self.rlimits)


@dataclass(frozen=True, slots=True)
class BecomeRoot(Operation):
    """Become root of the new user namespace."""

    def describe(self) -> str:
        return "become root of the user namespace"

    def execute(self, root: Root) -> None:
        credentials.become_root()


@dataclass(frozen=True, slots=True)
class SetScheduler(Operation):
    """Set the scheduling policy."""

    scheduler: Scheduler

    def describe(self) -> str:
        return f"process.scheduler: {self.scheduler.policy}"

    def execute(self, root: Root) -> None:
        scheduling.schedule(self.scheduler)


@dataclass(frozen=True, slots=True)
class SetIoPriority(Operation):
    """Set the priority for input and output."""

    priority: IoPriority

    def describe(self) -> str:
        return f"process.ioPriority: {self.priority.io_class} {self.priority.priority}"

    def execute(self, root: Root) -> None:
        scheduling.set_io_priority(self.priority)


@dataclass(frozen=True, slots=True)
class SetPersonality(Operation):
    """Set the execution domain."""

    domain: str

    def describe(self) -> str:
        return f"linux.personality: {self.domain}"

    def execute(self, root: Root) -> None:
        scheduling.set_personality(self.domain)


@dataclass(frozen=True, slots=True)
class PrepareLabel(Operation):
    """Open the file through which a security module is told of the process' label.

    executed: it is for a program that execve(2) starts.
    """

    field: str
    value: str
    executed: bool

    def describe(self) -> str:
        return f"{self.field}: {self.value}"

    def execute(self, root: Root) -> None:
        root.labels.append(Label(self.field, self.value, executed=self.executed))


@dataclass(frozen=True, slots=True)
class CheckMountLabel(Operation):
    """See that the host can give mounts an SELinux label."""

    label: str

    def describe(self) -> str:
        return f"linux.mountLabel: {self.label}"

    def execute(self, root: Root) -> None:
        security_labels.check_selinux("linux.mountLabel", self.label)


@dataclass(frozen=True, slots=True)
class ApplyLabels(Operation):
    """Confine the process to its labels, when all that they might forbid is done."""

    def describe(self) -> str:
        return "security labels"

    def execute(self, root: Root) -> None:
        while root.labels:
            root.labels.pop().apply()


@dataclass(frozen=True, slots=True)
class EnterWorkingDirectory(Operation):
    """Change into the process' working directory, while nothing bars the way into it."""

    path: str

    def describe(self) -> str:
        return f"enter {self.path}"

    def execute(self, root: Root) -> None:
        os.chdir(self.path)
        os.getcwd()  # fails in a directory outside the root


@dataclass(frozen=True, slots=True)
class NewSessionKeyring(Operation):
    """Leave the daemon's keys behind: session keyrings are inherited."""

    def describe(self) -> str:
        return "new session keyring"

    def execute(self, root: Root) -> None:
        credentials.leave_session_keyring()


@dataclass(frozen=True, slots=True)
class BecomeUser(Operation):
    """Take on the process' user, groups and capabilities."""

    user: User
    capabilities: Capabilities

    def describe(self) -> str:
        return f"become user {self.user.uid}:{self.user.gid}"

    def execute(self, root: Root) -> None:
        credentials.become(self.user, self.capabilities, capabilities.permitted())


@dataclass(frozen=True, slots=True)
class ForbidNewPrivileges(Operation):
    """Set no_new_privs."""

    def describe(self) -> str:
        return "no new privileges"

    def execute(self, root: Root) -> None:
        credentials.forbid_new_privileges()
