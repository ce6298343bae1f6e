"""The task service: one method for each rpc of containerd's task API.

Each method finds the container, acts, and answers. No method holds a lock while it waits, so
a pending Wait does not block Kill or State.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from google.protobuf.empty_pb2 import Empty

from pelagos_core import __version__, reasons
from pelagos_core.api import inspection_pb2, types_pb2
from pelagos_core.api import task_pb2 as api
from pelagos_core.api.process_details_pb2 import ProcessDetails
from pelagos_core.backends.annotations import narrowed, opinions
from pelagos_core.backends.installed import Node
from pelagos_core.backends.selection import Preference, Selection, preference
from pelagos_core.cgroups import membership
from pelagos_core.config import runtime_options
from pelagos_core.config.node_file import Config
from pelagos_core.config.policy import Policy
from pelagos_core.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
    Unimplemented,
)
from pelagos_core.exit_status import ExitStatus
from pelagos_core.linux.namespaces import is_own
from pelagos_core.oci import parse_process
from pelagos_core.oci.field import Field
from pelagos_core.oci.resources import read_resources
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.reasons import because
from pelagos_core.shim.identifier import check_id
from pelagos_core.task import INSPECTION, NAMES, events, metrics_v1, metrics_v2
from pelagos_core.task.container import Container, Facilities
from pelagos_core.task.counts import Counts
from pelagos_core.task.process import Process
from pelagos_core.task.rootfs_request import rootfs_mounts
from pelagos_core.task.state import Status
from pelagos_core.task.streams.stdio import StdioPaths
from pelagos_core.ttrpc.service import Service

log = logging.getLogger(__name__)

# The API has no status for a task that is being created. UNKNOWN is not used: a client may delete such a task.
_STATUS = {
    Status.ADDED: types_pb2.CREATED,
    Status.CREATING: types_pb2.CREATED,
    Status.CREATED: types_pb2.CREATED,
    Status.RUNNING: types_pb2.RUNNING,
    Status.PAUSING: types_pb2.PAUSING,
    Status.PAUSED: types_pb2.PAUSED,
    Status.STOPPED: types_pb2.STOPPED,
}


# The type URL of containerd's typeurl package; the value is JSON.
RESOURCES_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"


def _summary(container: Container) -> inspection_pb2.ContainerSummary:
    init = container.init
    return inspection_pb2.ContainerSummary(
        id=container.id,
        pid=init.pid,
        status=types_pb2.Status.Name(_STATUS[_shown(init.status, container.status)]).lower(),
        backend=init.backend,
        args=container.bundle.spec.process.args,
    )


def _shown(own: Status, containers: Status) -> Status:
    """The status to report: a running process of a paused container is paused."""
    return containers if own is Status.RUNNING and containers in (Status.PAUSING, Status.PAUSED) else own


def _has_network(bundle: Bundle) -> bool:
    """Whether the container has a network namespace other than the daemon's, which is the host's."""
    network = bundle.spec.namespace("network")
    return network is not None and not (network.path and is_own(network.path))


class _ProcessRequest(Protocol):
    """Any request on one process of a container."""

    id: str
    exec_id: str


class TaskService:
    """The containers of one daemon, and the rpcs on them."""

    def __init__(self, namespace: str, node: Node, facilities: Facilities, shutdown: Callable[[], None]) -> None:
        """shutdown: called by the Shutdown rpc once no container is left."""
        self._facilities = facilities
        self._namespace = namespace
        self._node = node
        self._pod: dict[str, str] = {}
        self._group = ""
        self._sink = facilities.sink
        self._counts = Counts(facilities.launcher.metrics)
        self._shutdown = shutdown
        self._containers: dict[str, Container] = {}
        self._ending = False
        self._creating = 0
        self._emptied = time.monotonic()

    @property
    def idle(self) -> bool:
        """Whether there is no container, and no Create in progress."""
        return not self._containers and not self._creating

    @property
    def idle_seconds(self) -> float:
        """Seconds without a container; 0 while there is one."""
        return time.monotonic() - self._emptied if self.idle else 0.0

    def services(self) -> list[Service]:
        """The method tables of both versions of the API, whose messages are the same, and of Inspection."""
        descriptor = api.DESCRIPTOR.services_by_name["Task"]
        own = inspection_pb2.DESCRIPTOR.services_by_name["Inspection"]
        return [*(Service(name, descriptor, self) for name in NAMES), Service(INSPECTION, own, self)]

    def refuse(self) -> None:
        """Refuse every further Create: the daemon is about to end."""
        self._ending = True

    async def end(self) -> None:
        """Kill and remove every container: the daemon is ending."""
        self.refuse()
        for container in list(self._containers.values()):
            try:
                await container.end()
            except Exception:
                log.exception("container %r", container.id)

    async def remove_abandoned(self) -> None:
        """Remove ended containers whose bundle containerd has removed: it will never call Delete for them.

        containerd removes a bundle after Delete, also after a Delete that was not answered in time. In the
        second case the shim's `delete` command has killed the container, and containerd has no record of it.
        containerd sends no Shutdown after the last such container, so this calls it.
        """
        for container in list(self._containers.values()):
            if container.status is Status.STOPPED and not os.path.exists(container.bundle.path):
                log.warning("container %r: its bundle does not exist any more: it is removed", container.id)
                await self._deleted(container)
                await self.shutdown(api.ShutdownRequest())

    async def create(self, request: api.CreateTaskRequest) -> api.CreateTaskResponse:
        """Create: create the init process and load the workload, which waits for Start."""
        await self._refresh()
        with because(reasons.SPEC):
            container = self._new_container(request)
        self._containers[container.id] = container
        try:
            with self._counts.create(container):
                await container.create()
        except BaseException:
            self._forget(container)
            raise
        rootfs = list(request.rootfs)
        init = container.init
        self._sink.publish(events.task_create(container.id, request.bundle, rootfs, init.paths, init.pid))
        return api.CreateTaskResponse(pid=init.pid)

    async def exec(self, request: api.ExecProcessRequest) -> Empty:
        """Exec: add a further process; Start creates it."""
        container = self._find(request.id)
        check_id(request.exec_id)
        try:
            process = replace(parse_process(request.spec.value), terminal=request.terminal)
        except InvalidArgument as error:
            text = f"exec {request.exec_id!r} of container {request.id!r}: {error.message}"
            raise InvalidArgument(text, reasons.SPEC) from None
        paths = StdioPaths(request.stdin, request.stdout, request.stderr, request.terminal)
        container.add(request.exec_id, process, paths)
        return Empty()

    async def start(self, request: api.StartRequest) -> api.StartResponse:
        """Start: start the workload; for an exec, create its process first."""
        container = self._find(request.id)
        with self._counts.start(container, request.exec_id):
            await container.start(request.exec_id)
        return api.StartResponse(pid=container.process(request.exec_id).pid)

    async def state(self, request: api.StateRequest) -> api.StateResponse:
        """State: the status by the table, and the paths of the streams as the request gave them."""
        container = self._find(request.id)
        process = container.process(request.exec_id)
        response = api.StateResponse(
            id=request.id,
            exec_id=request.exec_id,
            bundle=process.bundle.path,
            pid=process.pid,
            status=_STATUS[_shown(process.status, container.status)],
            stdin=process.paths.stdin,
            stdout=process.paths.stdout,
            stderr=process.paths.stderr,
            terminal=process.paths.terminal,
        )
        if process.exit:
            response.exit_status = process.exit.code
            response.exited_at.CopyFrom(events.timestamp(process.exit.exited_at))
        return response

    async def wait(self, request: api.WaitRequest) -> api.WaitResponse:
        """Wait: any number of callers, also before Start."""
        status = await self._process(request).wait()
        return api.WaitResponse(exit_status=status.code, exited_at=events.timestamp(status.exited_at))

    async def kill(self, request: api.KillRequest) -> Empty:
        """Kill: one signal to one process, or to all processes of the container."""
        if request.exec_id:
            self._process(request).kill(request.signal)
        else:
            self._find(request.id).kill(request.signal, everything=request.all)
        return Empty()

    async def delete(self, request: api.DeleteRequest) -> api.DeleteResponse:
        """Delete: remove a container or exec that has ended or was never started."""
        container = self._find(request.id)
        pid = container.process(request.exec_id).pid
        if request.exec_id:
            status = await container.delete_exec(request.exec_id)
        else:
            status = await self._deleted(container)
        if status is None:
            return api.DeleteResponse()
        return api.DeleteResponse(pid=pid, exit_status=status.code, exited_at=events.timestamp(status.exited_at))

    async def pids(self, request: api.PidsRequest) -> api.PidsResponse:
        """Pids: every process of the container, with its exec id if it has one."""
        container = self._find(request.id)
        ids = container.exec_ids
        details = {pid: events.pack(ProcessDetails(exec_id=exec_id)) for pid, exec_id in ids.items()}
        processes = [types_pb2.ProcessInfo(pid=pid, info=details.get(pid)) for pid in container.pids()]
        return api.PidsResponse(processes=processes)

    async def pause(self, request: api.PauseRequest) -> Empty:
        """Pause: answered once every process is frozen."""
        await self._find(request.id).pause()
        return Empty()

    async def resume(self, request: api.ResumeRequest) -> Empty:
        """Resume: thaw every process."""
        self._find(request.id).resume()
        return Empty()

    async def update(self, request: api.UpdateTaskRequest) -> Empty:
        """Update: change the limits of a container that has not ended."""
        container = self._find(request.id)
        if request.resources.type_url != RESOURCES_TYPE:
            raise InvalidArgument(f"container {request.id!r}: resources of type {request.resources.type_url!r}")
        resources = Field.parse(f"container {request.id!r}: resources", request.resources.value)
        await container.update(read_resources(resources))
        return Empty()

    async def stats(self, request: api.StatsRequest) -> api.StatsResponse:
        """Stats: the metrics of the control group. Never an empty answer: containerd 1.6 crashes on it.

        Raises NotFound if the control group does not exist.
        """
        cgroup = self._find(request.id).cgroup
        if not cgroup.exists():
            raise NotFound(f"container {request.id!r}: cgroup does not exist")
        message = metrics_v2.metrics(cgroup) if cgroup.unified else metrics_v1.metrics(cgroup)
        return api.StatsResponse(stats=events.pack(message))

    async def close_io(self, request: api.CloseIORequest) -> Empty:
        """CloseIO: the client will send no more input."""
        process = self._process(request)
        if request.stdin:
            process.close_stdin()
        return Empty()

    async def resize_pty(self, request: api.ResizePtyRequest) -> Empty:
        """ResizePty: set the size of the terminal; no effect without a terminal."""
        self._process(request).resize(request.width, request.height)
        return Empty()

    async def connect(self, request: api.ConnectRequest) -> api.ConnectResponse:
        """Connect: never fails; containerd 1.7 calls it before Create."""
        container = self._containers.get(request.id)
        return api.ConnectResponse(
            shim_pid=os.getpid(), task_pid=container.init.pid if container else 0, version=__version__
        )

    async def backend(self, request: inspection_pb2.BackendRequest) -> inspection_pb2.BackendResponse:
        """Backend, of the Inspection service: the backend of a process, and why it was chosen."""
        process = self._process(request)
        return inspection_pb2.BackendResponse(backend=process.backend, reason=process.reason)

    async def list(self, request: inspection_pb2.ListRequest) -> inspection_pb2.ListResponse:
        """List, of the Inspection service: the containers of this daemon."""
        return inspection_pb2.ListResponse(containers=map(_summary, self._containers.values()))

    async def shutdown(self, request: api.ShutdownRequest) -> Empty:
        """Shutdown: ignored while a container is left; the id has no meaning."""
        if self.idle:
            self._shutdown()
        return Empty()

    async def _refresh(self) -> None:
        """Load backends that were installed meanwhile, within a time limit."""
        self._creating += 1
        try:
            await self._node.refresh()
        finally:
            self._creating -= 1
            self._emptied = time.monotonic()

    def _new_container(self, request: api.CreateTaskRequest) -> Container:
        check_id(request.id)
        if self._ending:
            raise Unavailable(f"container {request.id!r}: this shim is shutting down")
        if request.id in self._containers:
            raise AlreadyExists(f"container {request.id!r} already exists")
        if request.checkpoint:
            raise Unimplemented(f"container {request.id!r}: restore from a checkpoint is not supported")
        bundle = Bundle.load(request.bundle, request.id, self._namespace, rootfs_mounts(list(request.rootfs)))
        options, node = runtime_options.parse(request.options), self._node.config
        self._enter_group(options.shim_cgroup)
        if bundle.is_sandbox:
            self._pod = bundle.wasm_annotations  # used for the pod's other containers
        policy = node.policy.narrowed(options.wasm, lambda word: f"runtime options: wasm.{word}")
        try:
            wanted, policy = self._preference_and_policy(bundle, options, node, policy)
        except InvalidArgument as error:
            raise InvalidArgument(f"container {bundle.id!r}: {error.message}", error.reason) from None
        selection = Selection(self._node.backends, wanted)
        bundle = replace(bundle.annotated(self._pod), policy=policy)
        if bundle.spec.process.terminal != request.terminal:
            bundle = bundle.executing(replace(bundle.spec.process, terminal=request.terminal))
        paths = StdioPaths(request.stdin, request.stdout, request.stderr, request.terminal)
        container = Container(bundle, selection, node.cache, paths, self._facilities)
        # The group of a container that is being created is still empty, so it looks unused.
        for other in self._containers.values():
            if set(other.cgroup.paths) & set(container.cgroup.paths):
                raise FailedPrecondition(f"cgroup {other.cgroup.paths[0]!r} is in use by container {other.id!r}")
        return container

    def _enter_group(self, path: str) -> None:
        """Move the daemon to this control group. As in runc's shim, only the first request has an effect.

        Running nurseries are ended, and executed again in the new group. Later children of the daemon
        start in its group.
        """
        if path and not self._group:
            with because(reasons.CGROUP, "runtime options: ShimCgroup"):
                membership.enter(path, self._facilities.hierarchies.now())
            self._group = path
            self._facilities.launcher.leave_group()

    def _preference_and_policy(
        self, bundle: Bundle, options: Config, node: Config, policy: Policy
    ) -> tuple[Preference, Policy]:
        """The preferred backend and the narrowed policy, by the annotations of the container and its pod."""
        own, name = bundle.wasm_annotations, bundle.name_in_pod
        policy = narrowed(policy, opinions(own, self._pod, name))
        if not (_has_network(bundle) or policy.host_network):
            policy = replace(policy, network=False)
        return preference(own, self._pod, options, node, name), policy

    async def _deleted(self, container: Container) -> ExitStatus:
        try:
            return await container.delete()
        finally:
            if container.status is Status.DELETED:
                self._forget(container)

    def _process(self, request: _ProcessRequest) -> Process:
        return self._find(request.id).process(request.exec_id)

    def _forget(self, container: Container) -> None:
        self._containers.pop(container.id, None)
        self._emptied = time.monotonic()

    def _find(self, container_id: str) -> Container:
        container = self._containers.get(container_id)
        # A container that is being cleaned up is listed for Create only: its id is not free yet.
        if container is None or container.status is Status.DELETED:
            raise NotFound(f"container {container_id!r} does not exist")
        return container
