"""`pelagos zygote`: the warm process in the foreground, for a service manager."""

from __future__ import annotations

import os
import sys

from pelagos_core.cli.command import command

_STAY = "from pelagos_core.daemon.program import stay; stay()"
# What `ps` shows of a daemon has no more room than the command line it was forked from.
_ROOM = " " * 512


@command()
def zygote() -> None:
    """Be the zygote, which forks the shims of pods, in the foreground.

    There is no need to run this: the first pod's start leaves a zygote behind, which ends when it is
    unused for ten minutes (zygote_idle_seconds in the node's config). A service that runs
    this one has the first pod after a boot start warm too: `pelagos install --systemd-dir`
    writes it. It takes the place of one that is there, and ends when what is installed or
    configured has changed: then it is to be run again.
    """
    os.execv(sys.executable, [sys.executable, "-I", "-c", _STAY, _ROOM])  # noqa: S606 (a small process is the point)
