"""`pelagos zygote`: the warm process in the foreground, for a service manager."""

from __future__ import annotations

import os
import sys

from pelagos_core.cli.command import command

_STAY = "from pelagos_core.daemon.program import stay; stay()"
# A daemon's title in `ps` cannot be longer than the command line of the process from which it was forked.
_ROOM = " " * 512


@command()
def zygote() -> None:
    """Run the zygote, which forks the shims of pods, in the foreground.

    You need not run it: the start of the first pod also starts a zygote, which exits when it is unused
    for ten minutes (zygote_idle_seconds in the node's config). With a service that runs this command,
    the first pod after a boot starts fast too; `pelagos install --systemd-dir` writes its unit. It
    replaces a running zygote, and exits when an installed package or the config changes: the
    service must then restart it.
    """
    os.execv(sys.executable, [sys.executable, "-I", "-c", _STAY, _ROOM])  # noqa: S606 (a small process is the point)
