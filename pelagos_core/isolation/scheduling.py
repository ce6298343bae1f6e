"""Resource limits, scheduling policy, I/O priority and personality, as instructions.

Source: getrlimit(2), sched_setattr(2), ioprio_set(2), personality(2).
"""

from __future__ import annotations

import errno

from pelagos_core.errors import PermissionDenied
from pelagos_core.native.instruction import Instruction, instruction
from pelagos_core.native.process import Failure
from pelagos_core.oci import IoPriority, Rlimit, Scheduler
from pelagos_core.oci.config import PERSONALITIES
from pelagos_core.oci.scheduling import IO_CLASSES, POLICIES, RLIMITS, SCHEDULER_FLAGS

_UNLIMITED = -1
_IO_CLASS_SHIFT = 13
_PERSONALITIES = dict(zip(PERSONALITIES, (0x0, 0x8), strict=True))


def limiting(rlimit: Rlimit) -> Instruction:
    """Set a resource limit, soft and hard."""
    return instruction("set_rlimit", RLIMITS.index(rlimit.type), _limit(rlimit.soft), _limit(rlimit.hard))


def allowing(rlimit: Rlimit) -> Instruction:
    """Raise a hard limit to at least this one; the soft limit is unchanged. Only the host's root may raise it."""
    return instruction("allow_rlimit", RLIMITS.index(rlimit.type), _limit(rlimit.hard))


def limit_refused(rlimit: Rlimit, failed: Failure) -> PermissionDenied:
    """The error for a limit that cannot be set, usually because it may not be raised."""
    why = "not allowed to raise maximum limit" if failed.error == errno.EPERM else failed.strerror
    return PermissionDenied(f"process.rlimits: {rlimit.type} {rlimit.soft}:{rlimit.hard}: {why}")


def _limit(value: int) -> int:
    return _UNLIMITED if value >= 2**63 else value


def scheduling(scheduler: Scheduler) -> Instruction:
    """Set policy and parameters."""
    flags = sum(1 << SCHEDULER_FLAGS.index(flag) for flag in scheduler.flags)
    times = map(_signed, (scheduler.runtime, scheduler.deadline, scheduler.period))
    policy = POLICIES.index(scheduler.policy)
    return instruction("set_scheduler", policy, flags, scheduler.nice, scheduler.priority, *times)


def _signed(value: int) -> int:
    """Convert an unsigned 64-bit number to the signed one with the same bits."""
    return value - 2**64 if value >= 2**63 else value


def io_priority(priority: IoPriority) -> int:
    """Class and level as the value for ioprio_set(2)."""
    return (IO_CLASSES.index(priority.io_class) + 1) << _IO_CLASS_SHIFT | priority.priority


def personality(domain: str) -> int:
    """An execution domain as the value for personality(2)."""
    return _PERSONALITIES[domain]
