"""Moving a process into a container's control group.

Source: cgroups(7), Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst.
"""

from __future__ import annotations

from pelagos_core.cgroups.group import Cgroup, Group
from pelagos_core.errors import PermissionDenied
from pelagos_core.native.instruction import Instruction, instruction
from pelagos_core.native.process import Failure, NativeProcess


def join(cgroup: Cgroup) -> None:
    """Move the calling process, which must have one thread, into the group. Raises PermissionDenied."""
    if failed := NativeProcess().run(joining(cgroup)):
        raise not_joined(cgroup, failed)


def joining(cgroup: Cgroup) -> tuple[Instruction, ...]:
    """The instructions of `join`, one for each hierarchy."""
    return tuple(map(_joining, cgroup.groups))


def not_joined(cgroup: Cgroup, failed: Failure) -> PermissionDenied:
    """The error for a group that cannot be joined."""
    return PermissionDenied(f"cgroup {cgroup.groups[failed.step].path!r}: cannot join: {failed.strerror}")


def _joining(group: Group) -> Instruction:
    if group.unified:
        return instruction("join_cgroup", f"{group.path}/cgroup.procs")
    # v1: to move a process takes nearly a millisecond, since the kernel locks out all forks of the system and waits for
    # RCU. To move one thread (0: the writing thread) does not need the lock. v2 can only move processes.
    return instruction("write_file", f"{group.path}/tasks", b"0")
