"""Mount propagation. In a process with a private mount namespace.

Source: mount_namespaces(7).
"""

from __future__ import annotations

from pelagos_core.linux import syscalls


def make_mounts_private() -> None:
    """Make all mounts private, so that mounts in the calling process' new namespace do not propagate to the host."""
    set_propagation(syscalls.MS_PRIVATE)


def set_propagation(flag: int) -> None:
    """Set the propagation of `/` and all mounts below it, in the calling process' mount namespace."""
    syscalls.mount("", "/", "", flag | syscalls.MS_REC, "")
