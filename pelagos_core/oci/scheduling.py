"""`process.rlimits`, `process.scheduler` and `process.ioPriority` of the OCI runtime spec."""

from __future__ import annotations

from dataclasses import dataclass

from pelagos_core.oci.field import Field

# uapi/asm-generic/resource.h: the index is the number.
RLIMITS = tuple(
    f"RLIMIT_{name}"
    for name in (
        "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME"
    ).split()
)
POLICIES = ("SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE")
# uapi/linux/sched.h: the index is the number of the bit.
SCHEDULER_FLAGS = tuple(
    f"SCHED_FLAG_{name}"
    for name in "RESET_ON_FORK RECLAIM DL_OVERRUN KEEP_POLICY KEEP_PARAMS UTIL_CLAMP_MIN UTIL_CLAMP_MAX".split()
)
IO_CLASSES = ("IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE")
_MAX_U64 = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Rlimit:
    """One resource limit. The largest 64-bit number means no limit."""

    type: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class Scheduler:
    """The scheduling policy and its parameters: sched_setattr(2). Times are in nanoseconds."""

    policy: str
    nice: int = 0
    priority: int = 0
    flags: tuple[str, ...] = ()
    runtime: int = 0
    deadline: int = 0
    period: int = 0


@dataclass(frozen=True, slots=True)
class IoPriority:
    """The I/O priority: ioprio_set(2)."""

    io_class: str
    priority: int = 0


def read_rlimits(rlimits: Field) -> tuple[Rlimit, ...]:
    """Read `process.rlimits`. Raises InvalidArgument."""
    found = rlimits.each(_read_rlimit)
    rlimits.distinct([rlimit.type for rlimit in found])
    return found


def _read_rlimit(rlimit: Field) -> Rlimit:
    soft, hard = rlimit.get("soft").number(_MAX_U64), rlimit.get("hard").number(_MAX_U64)
    if soft > hard:
        rlimit.refuse(f"soft limit {soft} is above the hard limit {hard}")
    return Rlimit(_one_of(rlimit.get("type"), RLIMITS), soft, hard)


def read_scheduler(scheduler: Field) -> Scheduler | None:
    """Read `process.scheduler`; None if it is absent. Raises InvalidArgument."""
    if not scheduler:
        return None
    return Scheduler(
        policy=_one_of(scheduler.get("policy"), POLICIES),
        nice=scheduler.get("nice").number(19, least=-20),
        priority=scheduler.get("priority").number(99),
        flags=scheduler.get("flags").each(lambda flag: _one_of(flag, SCHEDULER_FLAGS)),
        runtime=scheduler.get("runtime").number(_MAX_U64),
        deadline=scheduler.get("deadline").number(_MAX_U64),
        period=scheduler.get("period").number(_MAX_U64),
    )


def read_io_priority(priority: Field) -> IoPriority | None:
    """Read `process.ioPriority`; None if it is absent. Raises InvalidArgument."""
    if not priority:
        return None
    return IoPriority(_one_of(priority.get("class"), IO_CLASSES), priority.get("priority").number(7))


def _one_of(word: Field, known: tuple[str, ...]) -> str:
    text = word.text()
    if text not in known:
        word.refuse(f"{text!r} is none of {', '.join(known)}")
    return text
