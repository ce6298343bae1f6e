"""What a Linux security module confines a process to: an AppArmor profile, an SELinux label.

Source: aa_change_onexec(3), aa_change_profile(3), setexeccon(3), setcon(3), and the kernel's
Documentation/admin-guide/LSM.
"""

from __future__ import annotations

from dataclasses import dataclass

from pelagos_core.errors import FailedPrecondition, PermissionDenied
from pelagos_core.native.instruction import Instruction, instruction
from pelagos_core.native.process import Failure

_ATTRIBUTES = "/proc/self/attr"
UNCONFINED = "unconfined"


@dataclass(frozen=True, slots=True)
class Module:
    """One security module.

    check, path: the operation that tells whether this host has it, and the file that it looks at.
    directory: its own below the process' attributes, since Linux 5.8, for hosts with several modules; or empty.
    verbs: what comes before a label for a program that execve(2) starts, and before one for the process as it is.
    """

    name: str
    check: str
    path: str
    directory: str = ""
    verbs: tuple[str, str] = ("", "")

    def required(self) -> Instruction:
        """Fail if this host does not have it, switched on or with a policy loaded."""
        return instruction(self.check, self.path)

    def missing(self, field: str, label: str) -> FailedPrecondition:
        """The error for a label of the spec then."""
        return FailedPrecondition(f"{field}: {label!r}: this host has no {self.name}")

    def files(self, *, executed: bool) -> tuple[str, ...]:
        """The paths of the file by which it is told of a label: the first that is there."""
        name = "exec" if executed else "current"
        own = (f"{_ATTRIBUTES}/{self.directory}/{name}",) if self.directory else ()
        return (*own, f"{_ATTRIBUTES}/{name}")

    def text(self, label: str, *, executed: bool) -> str:
        """What is written to that."""
        return f"{self.verbs[0 if executed else 1]}{label}"


APPARMOR = Module(
    "AppArmor", "require_switch", "/sys/module/apparmor/parameters/enabled", "apparmor", ("exec ", "changeprofile ")
)
SELINUX = Module("SELinux", "require_file", "/sys/fs/selinux/enforce")


def module_of(field: str) -> Module:
    """Whose label a field of the spec is: `process.apparmorProfile` or `process.selinuxLabel`."""
    return APPARMOR if field.endswith("Profile") else SELINUX


def refused(field: str, label: str, failed: Failure) -> PermissionDenied:
    """The error for a label that the module does not take, as an unknown profile."""
    return PermissionDenied(f"{field}: {label!r}: {failed.strerror}")
