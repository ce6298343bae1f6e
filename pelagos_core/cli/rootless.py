"""`pelagos run` without root: in a user namespace in which the user is root.

Source: user_namespaces(7). Cgroups stay out of reach, so there are no resource limits.
"""

from __future__ import annotations

import os

from pelagos_core.errors import PermissionDenied
from pelagos_core.shim import zygote_request as zygote


def enter() -> None:
    """Become root in a new user namespace, if this is not root already.

    The process must have one thread. Raises PermissionDenied if the host forbids it.
    """
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        return
    from pelagos_core.config import node_file  # here: `pelagos run` as root needs neither
    from pelagos_core.linux import syscalls

    os.environ.setdefault(node_file.CACHE_VARIABLE, node_file.user_cache())  # from now on the uid appears as 0
    os.environ[zygote.VARIABLE] = zygote.OFF  # no other command could use a zygote in this namespace
    try:
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        _write("setgroups", "deny")  # the kernel's condition for writing gid_map without privileges
        _write("uid_map", f"0 {uid} 1")
        _write("gid_map", f"0 {gid} 1")
    except OSError as error:
        raise PermissionDenied(
            f"this host lets no user make a user namespace ({error.strerror}): run it as root"
        ) from None


def _write(name: str, text: str) -> None:
    with open(f"/proc/self/{name}", "wb", buffering=0) as file:  # the kernel accepts only a single write
        file.write(text.encode())
