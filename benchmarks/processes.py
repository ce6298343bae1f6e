"""The sandbox's processes, as /proc has them: memory, time, and their end."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection

_REAPER = 1
_END_SECONDS = 10.0


def others() -> set[int]:
    """Every process of the sandbox but its first and this one: what the contender has started."""
    return {int(name) for name in os.listdir("/proc") if name.isdigit()} - {_REAPER, os.getpid()}


def pss_mib(pids: set[int]) -> float:
    """Their proportional set size: shared pages count once, divided among their users."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    return total / 1024


def cpu_seconds(pids: set[int]) -> float:
    """The processor time that they have used so far, by the scheduler's clock, not by ticks."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            # clock_getcpuclockid(3): a process' CPU clock is made from its pid.
            total += time.clock_gettime_ns((~pid << 3) | 2)
    return total / 1e9


def command_line(pid: int) -> str:
    """What the process calls itself; empty if it is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline") as file:
        return file.read().replace("\0", " ").strip()
    return ""


def end_others(spared: Collection[int] = ()) -> None:
    """Kill what others have left, so that each contender begins with nothing.

    Raises TimeoutError if something does not end.
    """
    deadline = time.monotonic() + _END_SECONDS
    while left := others() - set(spared):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {sorted(left)} do not end")
        time.sleep(0.01)
