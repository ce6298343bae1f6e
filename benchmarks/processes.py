"""Reads memory and processor time of the sandbox's processes from /proc, and ends them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection

_REAPER = 1
_END_SECONDS = 10.0


def others() -> set[int]:
    """All processes of the sandbox except its first and this one: the contender has started them."""
    return {int(name) for name in os.listdir("/proc") if name.isdigit()} - {_REAPER, os.getpid()}


def pss_mib(pids: set[int]) -> float:
    """The proportional set size of the processes in MiB: a shared page is divided among the processes that map it."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    return total / 1024


def cpu_seconds(pids: set[int]) -> float:
    """The processor time of the processes so far, in seconds, by the scheduler's clock instead of ticks."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            # clock_getcpuclockid(3): a process' CPU clock is made from its pid.
            total += time.clock_gettime_ns((~pid << 3) | 2)
    return total / 1e9


def command_line(pid: int) -> str:
    """The command line of a process; empty if it has exited."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline") as file:
        return file.read().replace("\0", " ").strip()
    return ""


def end_others(spared: Collection[int] = ()) -> None:
    """Kill all processes of the sandbox, so that each contender starts without any.

    spared: pids that are not killed. Raises TimeoutError if a process does not end.
    """
    deadline = time.monotonic() + _END_SECONDS
    while left := others() - set(spared):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {sorted(left)} do not end")
        time.sleep(0.01)
