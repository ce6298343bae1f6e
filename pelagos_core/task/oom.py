"""Telling containerd that a container has run out of memory, before it is told of the end."""

from __future__ import annotations

import asyncio
import logging

from pelagos_core.cgroups.group import Cgroup
from pelagos_core.cgroups.oom import OomNotice
from pelagos_core.task import events
from pelagos_core.task.publisher import Sink

log = logging.getLogger(__name__)


class OomWatch:
    """One container's watch on its control group, from `start` to `stop`, in the daemon."""

    def __init__(self, container_id: str, cgroup: Cgroup, sink: Sink) -> None:
        self._id = container_id
        self._cgroup = cgroup
        self._sink = sink
        self._notice: OomNotice | None = None

    def start(self) -> None:
        """Begin to listen. A host that cannot tell is no error: its limits hold all the same."""
        try:
            self._notice = OomNotice(self._cgroup)
        except OSError as error:
            log.debug("container %r: no OOM events: %s", self._id, error)
            return
        asyncio.get_running_loop().add_reader(self._notice.fd, self.look)

    def look(self) -> None:
        """Publish what has happened. The kernel tells before it kills, so at an exit all is known."""
        if self._notice is not None and self._notice.happened():
            log.warning("container %r: out of memory", self._id)
            self._sink.publish(events.task_oom(self._id))

    def stop(self) -> None:
        """Listen no longer; the group may be removed then."""
        if self._notice is not None:
            asyncio.get_running_loop().remove_reader(self._notice.fd)
            self._notice.close()
            self._notice = None
