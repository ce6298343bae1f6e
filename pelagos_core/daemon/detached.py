"""A detached run (`pelagos run -d`): the daemon continues without the command, and ends with the container."""

from __future__ import annotations

import asyncio

from pelagos_core.api import runs_pb2
from pelagos_core.api import task_pb2 as api
from pelagos_core.daemon import runs
from pelagos_core.task.service import TaskService
from pelagos_core.ttrpc.service import Service


class Detached:
    """The Runs service of the daemon of a `pelagos run`. In the daemon, on its event loop."""

    def __init__(self, directory: str, tasks: TaskService) -> None:
        """directory: of the run. tasks: the daemon's containers."""
        self._directory = directory
        self._tasks = tasks
        self._id: asyncio.Future[str] | None = None

    def services(self) -> list[Service]:
        """The method table of the service."""
        return [Service(runs.SERVICE, runs_pb2.DESCRIPTOR.services_by_name["Runs"], self)]

    async def detach(self, request: runs_pb2.DetachRequest) -> runs_pb2.DetachResponse:
        """Detach: keep the container when its command ends. Raises NotFound if there is no such container."""
        await self._tasks.state(api.StateRequest(id=request.id))
        detached = self._detached()
        if not detached.done():
            # Stays open until the daemon ends: the FIFO has a writer then, so the end of the command is no end of file.
            runs.keep_open(self._directory)
            detached.set_result(request.id)
        return runs_pb2.DetachResponse()

    async def wait_for_end(self) -> tuple[float, int]:
        """Wait for the end of a detached container. Returns its time in seconds since the epoch, and the exit code."""
        container_id = await asyncio.shield(self._detached())
        status = await self._tasks.wait(api.WaitRequest(id=container_id))
        return status.exited_at.seconds + status.exited_at.nanos / 1e9, status.exit_status

    def _detached(self) -> asyncio.Future[str]:
        if self._id is None:
            self._id = asyncio.get_running_loop().create_future()
        return self._id
