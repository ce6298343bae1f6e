"""A user without privileges, and the parent-death signal.

Source: user_namespaces(7), prctl(2).
"""

from __future__ import annotations

from pelagos_core.linux import syscalls
from pelagos_core.oci import User

_NOBODY = 65534


def unprivileged() -> User:
    """A user that owns no files: uid 65534, or 0 if the user namespace maps no other id.

    Call it while /proc is accessible.
    """
    with open("/proc/self/uid_map", encoding="ascii") as file:
        ranges = [tuple(map(int, line.split())) for line in file]
    mapped = any(first <= _NOBODY < first + count for first, _, count in ranges)
    return User(_NOBODY, _NOBODY) if mapped else User(0, 0)


def die_with_parent(signum: int) -> None:
    """Set the parent-death signal: the kernel sends `signum` to this process when its parent ends.

    A change of credentials clears it: call it again after that.
    """
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signum)
