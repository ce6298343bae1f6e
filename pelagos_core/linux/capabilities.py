"""Capabilities: names to numbers.

Source: capabilities(7), OCI runtime spec "process.capabilities".
"""

from __future__ import annotations

from collections.abc import Iterable

from pelagos_core.errors import InvalidArgument

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
    """Convert names to a 64-bit mask. Raises InvalidArgument for an unknown name."""
    bits = 0
    for name in names:
        if name not in NUMBERS:
            raise InvalidArgument(f"process.capabilities: unknown capability {name!r}")
        bits |= 1 << NUMBERS[name]
    return bits
