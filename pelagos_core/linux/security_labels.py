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


def open_label(field: str, value: str, *, executed: bool) -> int:
    """Open the file by which a module is told of a label, while the host's /proc is in reach.

    It is written by `write_label` when everything else is done, since a profile may forbid what isolation needs.
    field: `process.apparmorProfile` or `process.selinuxLabel`. executed: the label is for the program that
    execve(2) starts, not for the process as it is. Returns a descriptor.
    Raises FailedPrecondition if the host has no such module, PermissionDenied if it takes no label.
    """
    apparmor = _is_apparmor(field)
    if not (has_apparmor() if apparmor else has_selinux()):
        raise FailedPrecondition(f"{field}: {value!r}: this host has no {'AppArmor' if apparmor else 'SELinux'}")
    try:
        return os.open(_attribute("exec" if executed else "current", apparmor), os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _refused(field, value, error) from None


def write_label(file: int, field: str, value: str, *, executed: bool) -> None:
    """Write a label to what `open_label` gave, and close that.

    Raises PermissionDenied if the module refuses, as for an unknown profile.
    """
    verb = "exec " if executed else "changeprofile "
    text = f"{verb}{value}" if _is_apparmor(field) else value
    try:
        os.write(file, text.encode())
    except OSError as error:
        raise _refused(field, value, error) from None
    finally:
        os.close(file)


def _is_apparmor(field: str) -> bool:
    return field.endswith("Profile")


def _refused(field: str, value: str, error: OSError) -> PelagosError:
    return PermissionDenied(f"{field}: {value!r}: {error.strerror}")


def _attribute(name: str, apparmor: bool) -> str:
    # Since Linux 5.8 AppArmor has a directory of its own, for hosts with several modules.
    own = f"{_ATTRIBUTES}/apparmor/{name}"
    return own if apparmor and os.path.exists(own) else f"{_ATTRIBUTES}/{name}"
