"""The identity of the init process: user, groups, umask, capabilities, no_new_privs.

Source: credentials(7), prctl(2), OCI runtime spec "process.user".
"""

from __future__ import annotations

import errno
import os

from pelagos_core.linux import capabilities, syscalls
from pelagos_core.oci import Capabilities, User

_NOBODY = 65534


def become(user: User, sets: Capabilities, available: int) -> None:
    """Take on the container's identity for good.

    available: `capabilities.permitted()` of before, read while /proc was in reach.
    """
    capabilities.limit_bounding(sets.bounding)
    # Without KEEPCAPS the change from root to another uid clears the permitted set, and
    # with it what the spec leaves to the process.
    syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 1)
    _set_groups(user.additional_gids)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 0)
    capabilities.set_all(sets, available)
    os.umask(0o022 if user.umask is None else user.umask)


def become_root() -> None:
    """Become root of the calling process' new user namespace, in which its ids are not mapped yet."""
    _set_groups(())
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def unprivileged() -> User:
    """A user that owns no files: uid 65534, or 0 if the user namespace maps no other id.

    To be called while /proc is in reach.
    """
    with open("/proc/self/uid_map", encoding="ascii") as file:
        ranges = [tuple(map(int, line.split())) for line in file]
    mapped = any(first <= _NOBODY < first + count for first, _, count in ranges)
    return User(_NOBODY, _NOBODY) if mapped else User(0, 0)


def _set_groups(gids: tuple[int, ...]) -> None:
    try:
        os.setgroups(gids)
    except PermissionError:
        # user_namespaces(7): a namespace made without privileges has setgroups(2) denied.
        if gids:
            raise


def forbid_new_privileges() -> None:
    """Set no_new_privs: no execve(2) gives more than there is."""
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)


def die_with_parent(signum: int) -> None:
    """Get `signum` when the parent ends.

    The kernel forgets it when credentials change, so it is asked for again after that.
    """
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signum)


def leave_session_keyring() -> None:
    """Begin a new session keyring, so that the daemon's keys are out of reach."""
    try:
        syscalls.join_new_session_keyring()
    except OSError as error:
        # A kernel without keys, a seccomp profile around us, or a quota that is used up by
        # others: runc goes on too.
        if error.errno not in (errno.ENOSYS, errno.EPERM, errno.EDQUOT):
            raise
