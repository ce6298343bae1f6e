"""Sets the attributes of a forked daemon that a child of the requesting `start` would inherit.

In the daemon, before it answers. An attribute that is equal already is not set. If the same containerd has started the
zygote, all are equal.
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
    """Set environment, umask, OOM score, limits and cgroups as in the request.

    Raises OSError or ValueError if one cannot be set. An OOM score that the kernel refuses is ignored.
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
    """Set the limits of a /proc/PID/limits text: name, soft, hard and unit, in columns."""
    for line in text.splitlines():
        for name, kind in _LIMITS.items():
            if line.startswith(f"{name} "):
                soft, hard = (_number(word) for word in line[len(name) :].split()[:2])
                if resource.getrlimit(kind) != (soft, hard):
                    resource.setrlimit(kind, (soft, hard))


def _number(word: str) -> int:
    return resource.RLIM_INFINITY if word == "unlimited" else int(word)
