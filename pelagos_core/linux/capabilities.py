"""Capabilities: names to numbers, and the five sets of the calling process.

Source: capabilities(7), OCI runtime spec "process.capabilities".
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

from pelagos_core.errors import InvalidArgument
from pelagos_core.linux import syscalls
from pelagos_core.oci import Capabilities

# In the kernel's order (uapi/linux/capability.h): the index is the number.
_NAMES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
    "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT "
    "SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE "
    "AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ "
    "PERFMON BPF CHECKPOINT_RESTORE"
).split()
NUMBERS = {f"CAP_{name}": number for number, name in enumerate(_NAMES)}
"""Every capability, by its name in a spec."""


def mask(names: Iterable[str]) -> int:
    """The sets' 64-bit form. Raises InvalidArgument for a name that is no capability."""
    bits = 0
    for name in names:
        if name not in NUMBERS:
            raise InvalidArgument(f"process.capabilities: unknown capability {name!r}")
        bits |= 1 << NUMBERS[name]
    return bits


def limit_bounding(names: Iterable[str]) -> None:
    """Take everything else out of the bounding set; needs CAP_SETPCAP, so it comes first."""
    keep = mask(names)
    for number in range(len(_NAMES)):
        if not keep >> number & 1 and not _dropped(number):
            return


def _dropped(number: int) -> bool:
    """Take one out of the bounding set. False if the kernel does not know this and later ones."""
    try:
        syscalls.prctl(syscalls.PR_CAPBSET_DROP, number)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return False
        if syscalls.prctl(syscalls.PR_CAPBSET_READ, number):  # else it need not be dropped
            raise
    return True


def set_all(sets: Capabilities, available: int) -> None:
    """Set the effective, permitted, inheritable and ambient sets.

    available: a mask of what this process may have at all; the rest is left out, since a
    container or a CI machine that lacks, say, CAP_SYS_RESOURCE cannot give it away.
    """
    permitted = mask(sets.permitted) & available
    effective = mask(sets.effective) & permitted
    inheritable = mask(sets.inheritable) & available
    syscalls.capset(effective, permitted, inheritable)
    syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_CLEAR_ALL)
    ambient = mask(sets.ambient) & permitted & inheritable
    for number in range(len(_NAMES)):
        if ambient >> number & 1:
            syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_RAISE, number)


def permitted() -> int:
    """The permitted set of the calling process."""
    return syscalls.capget()[1]
