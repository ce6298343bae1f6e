"""What a Linux security module confines the process to: an AppArmor profile, an SELinux label.

Source: aa_change_onexec(3), aa_change_profile(3), setexeccon(3), setcon(3), and the kernel's
Documentation/admin-guide/LSM.
"""

from __future__ import annotations

import os

from pelagos_core.errors import FailedPrecondition, PelagosError, PermissionDenied

_APPARMOR_SWITCH = "/sys/module/apparmor/parameters/enabled"
_SELINUX_MOUNT = "/sys/fs/selinux"
_ATTRIBUTES = "/proc/self/attr"
UNCONFINED = "unconfined"


def has_apparmor() -> bool:
    """Whether this host has AppArmor switched on."""
    try:
        with open(_APPARMOR_SWITCH, encoding="ascii") as file:
            return file.read(1) == "Y"
    except OSError:
        return False


def has_selinux() -> bool:
    """Whether this host has SELinux, with a policy loaded."""
    return os.path.exists(f"{_SELINUX_MOUNT}/enforce")


def check_selinux(field: str, label: str) -> None:
    """Raises FailedPrecondition if this host has no SELinux for a label of the spec."""
    if not has_selinux():
        raise FailedPrecondition(f"{field}: {label!r}: this host has no SELinux")


class Label:
    """One label for the calling process, from the opening of its file to its writing.

    The file is opened while the host's /proc is in reach; it is written when everything else
    is done, since a profile may forbid what isolation needs.
    """

    def __init__(self, field: str, value: str, *, executed: bool) -> None:
        """field: `process.apparmorProfile` or `process.selinuxLabel`.

        executed: it is for the program that execve(2) starts, not for the process as it is.
        Raises FailedPrecondition if the host has no such module.
        """
        self.name = f"{field}: {value!r}"
        apparmor = field.endswith("Profile")
        if not (has_apparmor() if apparmor else has_selinux()):
            raise FailedPrecondition(f"{self.name}: this host has no {'AppArmor' if apparmor else 'SELinux'}")
        verb = "exec " if executed else "changeprofile "
        self._text = f"{verb}{value}" if apparmor else value
        try:
            self._file = os.open(_attribute("exec" if executed else "current", apparmor), os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise self._failed(error) from None

    def apply(self) -> None:
        """Write it. Raises PermissionDenied if the module refuses, as for an unknown profile."""
        try:
            os.write(self._file, self._text.encode())
        except OSError as error:
            raise self._failed(error) from None
        finally:
            os.close(self._file)

    def _failed(self, error: OSError) -> PelagosError:
        return PermissionDenied(f"{self.name}: {error.strerror}")


def _attribute(name: str, apparmor: bool) -> str:
    # Since Linux 5.8 AppArmor has a directory of its own, for hosts with several modules.
    own = f"{_ATTRIBUTES}/apparmor/{name}"
    return own if apparmor and os.path.exists(own) else f"{_ATTRIBUTES}/{name}"
