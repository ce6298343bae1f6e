"""A guest's memory limit in its own process: reading the limit, and reporting a refusal."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from pelagos_core import reasons
from pelagos_core.cgroups.group import Cgroup
from pelagos_core.errors import with_reason
from pelagos_core.launch import messages
from pelagos_core.launch.messages import Refused
from pelagos_core.plugin import limits
from pelagos_core.plugin.limits import LiveMemory


def live(cgroup: Cgroup, control: int, say: Callable[[str], None]) -> LiveMemory | None:
    """The memory limit of the control group that this process has joined. Call it before the change of root.

    control: the socket to the daemon, for the message Refused. say: writes to the process' stderr.
    None if there is no such group or control file.
    """
    file = cgroup.open_memory_limit()

    def report(asked: int, limit: int) -> None:
        say(with_reason(f"pelagos: {limits.refusal(asked, limit)}", reasons.MEMORY))
        with contextlib.suppress(OSError):  # the daemon has closed its end
            os.write(control, messages.encode(Refused(asked, limit)))

    return LiveMemory(file, report) if file is not None else None
