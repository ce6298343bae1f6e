"""OOM events of a container. containerd gets them before the exit event."""

from __future__ import annotations

import asyncio
import logging

from pelagos_core import reasons
from pelagos_core.cgroups.group import Cgroup
from pelagos_core.cgroups.oom import OomNotice
from pelagos_core.errors import PelagosError
from pelagos_core.metrics.families import OOM_KILLS
from pelagos_core.metrics.recorder import NOT_COUNTED, Recorder
from pelagos_core.task import events
from pelagos_core.task.publisher import Sink

log = logging.getLogger(__name__)


class OomWatch:
    """Watches one container's control group from `start` to `stop`. In the daemon."""

    def __init__(self, container_id: str, cgroup: Cgroup, sink: Sink, metrics: Recorder = NOT_COUNTED) -> None:
        self._id = container_id
        self._cgroup = cgroup
        self._sink = sink
        self._metrics = metrics
        self._notice: OomNotice | None = None
        self._happened = False

    def start(self) -> None:
        """Begin to watch. Without OOM notifications on this host it does nothing: limits are enforced anyway."""
        try:
            self._notice = OomNotice(self._cgroup)
        except OSError as error:
            log.debug("container %r: no OOM events: %s", self._id, error)
            return
        asyncio.get_running_loop().add_reader(self._notice.fd, self.look)

    def look(self) -> None:
        """Publish an event for each new OOM kill. The kernel notifies before it kills, so an exit hides no event."""
        if self._notice is not None and self._notice.happened():
            log.warning("container %r: out of memory", self._id)
            self._happened = True
            self._sink.publish(events.task_oom(self._id))
            self._metrics.count(OOM_KILLS)

    def explained(self, error: BaseException) -> BaseException:
        """The error of Create, with a note in its message if the kernel has killed the process for lack of memory."""
        self.look()
        if self._happened and isinstance(error, PelagosError) and error.reason == reasons.LOST:
            error.message += ": out of memory: the container's limit is too low to start in"
        return error

    def stop(self) -> None:
        """Stop watching, so that the group can be removed."""
        if self._notice is not None:
            asyncio.get_running_loop().remove_reader(self._notice.fd)
            self._notice.close()
            self._notice = None
