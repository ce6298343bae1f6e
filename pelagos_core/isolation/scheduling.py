"""What the calling process may use, and when it runs: limits, scheduler, priorities, OOM score.

Source: getrlimit(2), sched_setattr(2), ioprio_set(2), personality(2), proc(5).
"""

from __future__ import annotations

import logging
import resource
import struct
from collections.abc import Iterable

from pelagos_core.errors import PermissionDenied
from pelagos_core.linux import syscalls
from pelagos_core.oci import IoPriority, Rlimit, Scheduler
from pelagos_core.oci.config import PERSONALITIES
from pelagos_core.oci.scheduling import IO_CLASSES, POLICIES, RLIMITS, SCHEDULER_FLAGS

log = logging.getLogger(__name__)

_SCHED_ATTR = struct.Struct("=IIQiIQQQ")
_IO_CLASS_SHIFT = 13
_PERSONALITIES = dict(zip(PERSONALITIES, (0x0, 0x8), strict=True))


def limit(rlimits: Iterable[Rlimit]) -> None:
    """Set resource limits. Raises PermissionDenied that names the one which may not be raised."""
    for rlimit in rlimits:
        try:
            resource.setrlimit(RLIMITS.index(rlimit.type), (_signed(rlimit.soft), _signed(rlimit.hard)))
        except (ValueError, OSError) as error:  # setrlimit of Python has both for EPERM
            raise PermissionDenied(f"process.rlimits: {rlimit.type} {rlimit.soft}:{rlimit.hard}: {error}") from None


def allow(rlimits: Iterable[Rlimit]) -> None:
    """Raise those hard limits that are to be higher, and leave the soft ones for now.

    Only the host's root may do so. Raises PermissionDenied.
    """
    for rlimit in rlimits:
        soft, hard = resource.getrlimit(RLIMITS.index(rlimit.type))
        hard = 2**64 - 1 if hard == resource.RLIM_INFINITY else hard
        if rlimit.hard > hard:
            limit([Rlimit(rlimit.type, soft, rlimit.hard)])


def _signed(value: int) -> int:
    return resource.RLIM_INFINITY if value >= 2**63 else value


def set_oom_score(score: int) -> None:
    """Set the OOM score adjustment; where it may not be lowered, that is only a warning.

    A machine without CAP_SYS_RESOURCE, such as a container, could run nothing otherwise.
    """
    try:
        # As bytes: a codec would be imported after the fork.
        with open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
            file.write(str(score).encode())
    except PermissionError:
        log.warning("process.oomScoreAdj: %d: this process may not lower it", score)


def schedule(scheduler: Scheduler) -> None:
    """Set policy and parameters. Raises OSError."""
    flags = sum(1 << SCHEDULER_FLAGS.index(flag) for flag in scheduler.flags)
    syscalls.sched_setattr(
        _SCHED_ATTR.pack(
            _SCHED_ATTR.size,
            POLICIES.index(scheduler.policy),
            flags,
            scheduler.nice,
            scheduler.priority,
            scheduler.runtime,
            scheduler.deadline,
            scheduler.period,
        )
    )


def set_io_priority(priority: IoPriority) -> None:
    """Set class and level. Raises OSError."""
    syscalls.ioprio_set((IO_CLASSES.index(priority.io_class) + 1) << _IO_CLASS_SHIFT | priority.priority)


def set_personality(domain: str) -> None:
    """Set the execution domain. Raises OSError."""
    syscalls.personality(_PERSONALITIES[domain])
