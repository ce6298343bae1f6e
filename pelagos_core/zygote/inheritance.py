"""What a forked daemon takes over of the `start` that asked for it, as if it were its child.

In the daemon, before it answers. Nothing is done about what is equal already, which is
everything if one containerd starts them all.
"""

from __future__ import annotations

import os
import resource

from pelagos_core.cgroups import membership
from pelagos_core.shim.zygote_client import set_oom_score_adj, shim_oom_score_adj
from pelagos_core.shim.zygote_request import Request, read

_LIMITS = {
    "Max cpu time": resource.RLIMIT_CPU,
    "Max file size": resource.RLIMIT_FSIZE,
    "Max data size": resource.RLIMIT_DATA,
    "Max stack size": resource.RLIMIT_STACK,
    "Max core file size": resource.RLIMIT_CORE,
    "Max resident set": resource.RLIMIT_RSS,
    "Max processes": resource.RLIMIT_NPROC,
    "Max open files": resource.RLIMIT_NOFILE,
    "Max locked memory": resource.RLIMIT_MEMLOCK,
    "Max address space": resource.RLIMIT_AS,
    "Max pending signals": resource.RLIMIT_SIGPENDING,
    "Max msgqueue size": resource.RLIMIT_MSGQUEUE,
    "Max nice priority": resource.RLIMIT_NICE,
    "Max realtime priority": resource.RLIMIT_RTPRIO,
    "Max realtime timeout": resource.RLIMIT_RTTIME,
}


def adopt(request: Request) -> None:
    """Take over environment, umask, OOM score, limits and cgroups.

    Raises OSError or ValueError if that cannot be done; a refused OOM score is let pass.
    """
    os.environ.clear()
    os.environ.update(request.environment)
    os.umask(request.umask)
    set_oom_score_adj(shim_oom_score_adj(request.oom_score_adj))
    if read("/proc/self/limits") != request.limits:
        _set_limits(request.limits)
    groups = read("/proc/self/cgroup")
    if groups != request.cgroups:
        membership.move_to(request.cgroups, groups, read("/proc/self/mountinfo"))


def _set_limits(text: str) -> None:
    """Set the limits that a /proc/PID/limits tells: name, soft, hard and unit, in columns."""
    for line in text.splitlines():
        for name, kind in _LIMITS.items():
            if line.startswith(f"{name} "):
                soft, hard = (_number(word) for word in line[len(name) :].split()[:2])
                if resource.getrlimit(kind) != (soft, hard):
                    resource.setrlimit(kind, (soft, hard))


def _number(word: str) -> int:
    return resource.RLIM_INFINITY if word == "unlimited" else int(word)
