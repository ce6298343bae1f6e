"""Propagation: in which namespaces a mount is seen. In a process with a mount namespace of its own.

Source: mount_namespaces(7).
"""

from __future__ import annotations

from pelagos_core.linux import syscalls


def make_mounts_private() -> None:
    """Keep the host from seeing what is mounted in the calling process' new namespace."""
    set_propagation(syscalls.MS_PRIVATE)


def set_propagation(flag: int) -> None:
    """Set the propagation of `/` in the calling process' mount namespace, and of all below it."""
    syscalls.mount("", "/", "", flag | syscalls.MS_REC, "")
