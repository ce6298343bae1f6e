"""Security labels of a process: an AppArmor profile, an SELinux label.

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

    check, path: the operation that checks whether this host has it, and the file that the operation reads.
    directory: its subdirectory of /proc/PID/attr (Linux 5.8), for hosts with several modules; or empty.
    verbs: the prefix of a label for execve(2), and of one that takes effect at once.
    """

    name: str
    check: str
    path: str
    directory: str = ""
    verbs: tuple[str, str] = ("", "")

    def required(self) -> Instruction:
        """The instruction that fails unless this host has the module enabled and a policy loaded."""
        return instruction(self.check, self.path)

    def missing(self, field: str, label: str) -> FailedPrecondition:
        """The error for a label on a host without the module."""
        return FailedPrecondition(f"{field}: {label!r}: this host has no {self.name}")

    def files(self, *, executed: bool) -> tuple[str, ...]:
        """The candidate paths of the file for a label; the first existing one is used."""
        name = "exec" if executed else "current"
        own = (f"{_ATTRIBUTES}/{self.directory}/{name}",) if self.directory else ()
        return (*own, f"{_ATTRIBUTES}/{name}")

    def text(self, label: str, *, executed: bool) -> str:
        """The text to write to that file."""
        return f"{self.verbs[0 if executed else 1]}{label}"


APPARMOR = Module(
    "AppArmor", "require_switch", "/sys/module/apparmor/parameters/enabled", "apparmor", ("exec ", "changeprofile ")
)
SELINUX = Module("SELinux", "require_file", "/sys/fs/selinux/enforce")


def module_of(field: str) -> Module:
    """The module of a field of the spec: `process.apparmorProfile` or `process.selinuxLabel`."""
    return APPARMOR if field.endswith("Profile") else SELINUX


def refused(field: str, label: str, failed: Failure) -> PermissionDenied:
    """The error for a label that the module refuses, such as an unknown profile."""
    return PermissionDenied(f"{field}: {label!r}: {failed.strerror}")
