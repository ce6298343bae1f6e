"""Out-of-memory notifications of a control group.

Source: cgroup-v1/memory.rst "OOM Control" (an eventfd), cgroup-v2.rst "memory.events" (inotify).
"""

from __future__ import annotations

import contextlib
import os

from pelagos_core.cgroups.group import Cgroup
from pelagos_core.linux import syscalls
from pelagos_core.linux.descriptor import Fd

_EVENT_BYTES = 4096


class OomNotice:
    """A descriptor that becomes readable when a group is out of memory. Call `close` before the group is removed.

    cgroup v1 reports the removal of the group as one more event.
    """

    def __init__(self, cgroup: Cgroup) -> None:
        """Raises OSError if the host has no memory controller."""
        self._cgroup = cgroup
        self._killed = 0
        directory = cgroup.directory("memory")
        if directory is None:
            raise FileNotFoundError("memory")
        if cgroup.unified:
            self.fd = syscalls.inotify(os.path.join(directory, "memory.events"), syscalls.IN_MODIFY)
            self._killed = self._count()
        else:
            self.fd = _registered(directory)

    def happened(self) -> bool:
        """Whether the group was out of memory since the last call. Does not wait."""
        notified = False
        with contextlib.suppress(BlockingIOError):
            notified = bool(os.read(self.fd, _EVENT_BYTES))
        if not self._cgroup.unified:
            return notified
        # inotify reports changes of other counters in the file too.
        before, self._killed = self._killed, self._count()
        return self._killed > before

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)

    def _count(self) -> int:
        counts = dict(line.split() for line in self._cgroup.read("memory.events").splitlines())
        return int(counts.get("oom_kill", 0))


def _registered(directory: str) -> int:
    with (
        Fd(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)) as fd,
        Fd(os.open(os.path.join(directory, "memory.oom_control"), os.O_RDONLY | os.O_CLOEXEC)) as control,
        Fd(os.open(os.path.join(directory, "cgroup.event_control"), os.O_WRONLY | os.O_CLOEXEC)) as registry,
    ):
        os.write(registry, f"{fd} {control}".encode())
        return fd.release()
