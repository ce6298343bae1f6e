"""The task service: one method for each rpc of containerd's task API.

Each finds the container, acts, and answers. No method holds anything while it waits, so
that a Wait of hours keeps no Kill or State from being answered.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from google.protobuf.empty_pb2 import Empty

from pelagos_core import __version__, runtime_options
from pelagos_core.api import task_pb2 as api
from pelagos_core.api import types_pb2
from pelagos_core.bundle import Bundle
from pelagos_core.config import Config
from pelagos_core.errors import AlreadyExists, FailedPrecondition, NotFound, Unavailable, Unimplemented
from pelagos_core.identifier import check_id
from pelagos_core.node import Node
from pelagos_core.selection import Selection, preference
from pelagos_core.task import events
from pelagos_core.task.container import Container, rootfs_mounts
from pelagos_core.task.publisher import Sink
from pelagos_core.task.state import Status
from pelagos_core.task.stdio import StdioPaths
from pelagos_core.ttrpc.service import Service

log = logging.getLogger(__name__)

NAMES = ("containerd.task.v2.Task", "containerd.task.v3.Task")

# The API has no status for a task that is still being created; UNKNOWN would let a client
# delete it.
_STATUS = {
    Status.CREATING: types_pb2.CREATED,
    Status.CREATED: types_pb2.CREATED,
    Status.RUNNING: types_pb2.RUNNING,
    Status.STOPPED: types_pb2.STOPPED,
}


class TaskService:
    """The containers of one daemon, and the rpcs on them."""

    def __init__(self, namespace: str, node: Node, sink: Sink, shutdown: Callable[[], None]) -> None:
        """shutdown: called by the Shutdown rpc once no container is left."""
        self._namespace = namespace
        self._node = node
        self._pod: dict[str, str] = {}
        self._sink = sink
        self._shutdown = shutdown
        self._containers: dict[str, Container] = {}
        self._ending = False

    @property
    def idle(self) -> bool:
        """Whether there is no container."""
        return not self._containers

    def services(self) -> list[Service]:
        """The method tables under both names of the API; their messages are the same."""
        descriptor = api.DESCRIPTOR.services_by_name["Task"]
        return [Service(name, descriptor, self) for name in NAMES]

    def refuse(self) -> None:
        """Take no new container: the daemon is about to leave."""
        self._ending = True

    async def end(self) -> None:
        """Kill and remove every container: the daemon is told to stop."""
        self.refuse()
        for container in list(self._containers.values()):
            try:
                await container.end()
            except Exception:
                log.exception("container %r", container.id)

    async def create(self, request: api.CreateTaskRequest) -> api.CreateTaskResponse:
        """Create: up to a loaded workload that waits for Start."""
        container = self._new_container(request)
        self._containers[container.id] = container
        try:
            await container.create()
        except BaseException:
            del self._containers[container.id]
            raise
        rootfs = list(request.rootfs)
        self._sink.publish(events.task_create(container.id, request.bundle, rootfs, container.paths, container.pid))
        return api.CreateTaskResponse(pid=container.pid)

    async def start(self, request: api.StartRequest) -> api.StartResponse:
        """Start: run the workload."""
        container = self._find(request.id, request.exec_id)
        container.start()
        return api.StartResponse(pid=container.pid)

    async def state(self, request: api.StateRequest) -> api.StateResponse:
        """State: what the table says, and the streams exactly as given."""
        container = self._find(request.id, request.exec_id)
        response = api.StateResponse(
            id=container.id,
            bundle=container.bundle.path,
            pid=container.pid,
            status=_STATUS[container.status],
            stdin=container.paths.stdin,
            stdout=container.paths.stdout,
            stderr=container.paths.stderr,
        )
        if container.exit:
            response.exit_status = container.exit.code
            response.exited_at.CopyFrom(events.timestamp(container.exit.exited_at))
        return response

    async def wait(self, request: api.WaitRequest) -> api.WaitResponse:
        """Wait: any number of callers, before Start too."""
        status = await self._find(request.id, request.exec_id).wait()
        return api.WaitResponse(exit_status=status.code, exited_at=events.timestamp(status.exited_at))

    async def kill(self, request: api.KillRequest) -> Empty:
        """Kill: one signal to the init process, or to all."""
        self._find(request.id, request.exec_id).kill(request.signal, everything=request.all)
        return Empty()

    async def delete(self, request: api.DeleteRequest) -> api.DeleteResponse:
        """Delete: an ended container, or one that was never started."""
        container = self._find(request.id, request.exec_id)
        try:
            status = await container.delete()
        finally:
            if container.status is Status.DELETED:
                self._containers.pop(container.id, None)
        return api.DeleteResponse(
            pid=container.pid, exit_status=status.code, exited_at=events.timestamp(status.exited_at)
        )

    async def pids(self, request: api.PidsRequest) -> api.PidsResponse:
        """Pids: every process of the container."""
        pids = self._find(request.id).pids()
        return api.PidsResponse(processes=[types_pb2.ProcessInfo(pid=pid) for pid in pids])

    async def close_io(self, request: api.CloseIORequest) -> Empty:
        """CloseIO: the client will send no more input."""
        container = self._find(request.id, request.exec_id)
        if request.stdin:
            container.close_stdin()
        return Empty()

    async def connect(self, request: api.ConnectRequest) -> api.ConnectResponse:
        """Connect: never fails; containerd 1.7 asks before Create."""
        container = self._containers.get(request.id)
        return api.ConnectResponse(
            shim_pid=os.getpid(), task_pid=container.pid if container else 0, version=__version__
        )

    async def shutdown(self, request: api.ShutdownRequest) -> Empty:
        """Shutdown: ignored while a container is left, whatever its id."""
        if self.idle:
            self._shutdown()
        return Empty()

    def _new_container(self, request: api.CreateTaskRequest) -> Container:
        check_id(request.id)
        if self._ending:
            raise Unavailable(f"container {request.id!r}: this shim is shutting down")
        if request.id in self._containers:
            raise AlreadyExists(f"container {request.id!r} already exists")
        if request.checkpoint:
            raise Unimplemented(f"container {request.id!r}: restore from a checkpoint is not supported")
        bundle = Bundle.load(request.bundle, request.id, self._namespace, rootfs_mounts(list(request.rootfs)))
        selection = self._selection(bundle, runtime_options.parse(request.options))
        bundle = bundle.annotated(self._pod)
        if request.terminal or bundle.spec.process.terminal:
            raise Unimplemented(f"container {request.id!r}: terminals are not supported")
        paths = StdioPaths(request.stdin, request.stdout, request.stderr)
        container = Container(bundle, selection, paths, self._sink)
        # In the first moments of a container its group looks as empty as a free one.
        for other in self._containers.values():
            if set(other.cgroup.paths) & set(container.cgroup.paths):
                raise FailedPrecondition(f"cgroup {other.cgroup.paths[0]!r} is in use by container {other.id!r}")
        return container

    def _selection(self, bundle: Bundle, options: Config) -> Selection:
        """Who is asked to run a container; a pod's annotations are remembered for its others."""
        if bundle.is_sandbox:
            self._pod = bundle.wasm_annotations
        self._node.refresh()
        own = bundle.wasm_annotations
        return Selection(self._node.backends, preference(own, self._pod, options, self._node.config))

    def _find(self, container_id: str, exec_id: str = "") -> Container:
        container = self._containers.get(container_id)
        # One that is being cleaned up is there for Create only: its id is not free yet.
        if container is None or container.status is Status.DELETED:
            raise NotFound(f"container {container_id!r} does not exist")
        if exec_id:
            raise NotFound(f"container {container_id!r} has no process {exec_id!r}")
        return container
