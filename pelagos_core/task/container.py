"""A container: a bundle, its init process, streams, control group and status."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import zlib

from pelagos_core import record
from pelagos_core.api.types_pb2 import Mount as MountMessage
from pelagos_core.bundle import Bundle
from pelagos_core.container_init.plan import plan
from pelagos_core.errors import FailedPrecondition, InvalidArgument, NotFound
from pelagos_core.exit_status import ExitStatus
from pelagos_core.linux.cgroups import Cgroup
from pelagos_core.selection import Selection
from pelagos_core.spec import Mount
from pelagos_core.task import events
from pelagos_core.task.process import InitProcess
from pelagos_core.task.publisher import Sink
from pelagos_core.task.state import Action, Lifecycle, Status
from pelagos_core.task.stdio import Stdio, StdioPaths

log = logging.getLogger(__name__)

_MAX_SIGNAL = 64
_CGROUP_RETRY_SECONDS = (0.001, 0.005, 0.02, 0.1, 0.5, 1.0)


class Container:
    """One container in this daemon. Made by `create`, ended by `delete`."""

    def __init__(self, bundle: Bundle, selection: Selection, paths: StdioPaths, sink: Sink) -> None:
        self.bundle = bundle
        self.paths = paths
        self.cgroup = Cgroup.of(bundle.spec.cgroups_path, _group_name(bundle))
        self.exit: ExitStatus | None = None
        self._sink = sink
        self._lifecycle = Lifecycle(f"container {bundle.id!r}")
        self._process = InitProcess(bundle, selection)
        self._owns_cgroup = False
        self._stdio: Stdio | None = None
        self._exited: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
        self._watcher: asyncio.Task[None] | None = None

    @property
    def id(self) -> str:
        """The container's id."""
        return self.bundle.id

    @property
    def status(self) -> Status:
        """Where it is in its life."""
        return self._lifecycle.status

    @property
    def pid(self) -> int:
        """The init process' id; kept after its end, 0 before there is one."""
        return self._process.pid

    async def create(self) -> None:
        """Make the init process and load the workload, up to CREATED.

        On any error nothing is left: no process, cgroup, descriptor or record.
        """
        try:
            steps = plan(self.bundle, self.cgroup)
            log.debug("container %r: plan: %s", self.id, "; ".join(steps.describe()))
            self._stdio = Stdio(self.paths)
            self._make_cgroup()
            await self._process.create(steps, self._stdio, self._forked)
            self._stdio.forked()
        except BaseException:
            self._lifecycle.apply(Action.EXIT)
            self._exited.set_exception(NotFound(f"container {self.id!r} was never created"))
            self._exited.exception()  # nobody need wait: asyncio is not to complain about that
            await self._clean_up()
            raise
        self._lifecycle.apply(Action.CREATED)
        self._watcher = asyncio.ensure_future(self._watch())
        log.info("container %r: created by backend %r: %s", self.id, self._backend_name, self._process.reason)

    def start(self) -> None:
        """Let the guest run. Raises FailedPrecondition in any other state than CREATED."""
        self._lifecycle.check(Action.START)
        self._process.start()
        self._lifecycle.apply(Action.START)
        # Queued here, with no await in between, so that no exit can come before it.
        self._sink.publish(events.task_start(self.id, self.pid))

    def kill(self, signum: int, *, everything: bool) -> None:
        """Send a signal to the init process, or to every process of the container.

        Raises InvalidArgument, or NotFound if the process has ended.
        """
        if not 0 <= signum <= _MAX_SIGNAL:
            raise InvalidArgument(f"container {self.id!r}: {signum} is not a signal")
        self._lifecycle.check(Action.KILL)
        if not self.pid:
            raise FailedPrecondition(f"container {self.id!r}: cannot kill, it has no process yet")
        if signum:
            self._process.signal(signum)
        if everything and signum == signal.SIGKILL:
            self.cgroup.kill(signum)

    async def wait(self) -> ExitStatus:
        """Wait for the end of the init process; any number of callers, at any time."""
        return await asyncio.shield(self._exited)

    def close_stdin(self) -> None:
        """Close the daemon's hold on the guest's input."""
        if self._stdio:
            self._stdio.close_stdin()

    def pids(self) -> list[int]:
        """The container's processes. The init process is listed until the container is deleted.

        containerd 1.7 and later take an empty list after a restart for a leaked shim, and
        would lose the exit code of a task that ended meanwhile.
        """
        return sorted({self.pid, *self.cgroup.processes()} - {0})

    async def delete(self) -> ExitStatus:
        """Remove what is left of an ended container; one that is only created is killed first."""
        if self.status is Status.CREATED:
            self.kill(signal.SIGKILL, everything=True)
            await self.wait()
        self._lifecycle.apply(Action.DELETE)
        status = await self.wait()
        await self._clean_up()
        self._sink.publish(events.task_delete(self.id, self.pid, status))
        return status

    async def end(self) -> None:
        """Kill and remove, whatever the state: the daemon itself is ending."""
        if self.status in (Status.CREATED, Status.RUNNING):
            self.kill(signal.SIGKILL, everything=True)
            await self.wait()
        if self.status is Status.STOPPED:
            await self.delete()

    @property
    def _backend_name(self) -> str:
        return self._process.backend.name if self._process.backend else ""

    async def _watch(self) -> None:
        """See the init process to its end, and tell everybody in the promised order."""
        status = await self._process.wait()
        self._end_the_rest()
        self._finish_streams()
        self.exit = status
        self._lifecycle.apply(Action.EXIT)
        log.info("container %r: ended with %d", self.id, status.code)
        self._sink.publish(events.task_exit(self.id, self.pid, status))
        self._exited.set_result(status)

    def _end_the_rest(self) -> None:
        """End what the guest has left running, unless a pid namespace of its own has done so."""
        namespace = self.bundle.spec.namespace("pid")
        if namespace is None or namespace.path:
            try:
                self.cgroup.kill(signal.SIGKILL)
            except OSError as error:
                log.error("container %r: cgroup: %s", self.id, error)  # noqa: TRY400 (no trace wanted)

    def _finish_streams(self) -> None:
        assert self._stdio is not None
        try:
            self._stdio.finish()
        except OSError as error:  # no descriptor is left: the exit is told all the same
            log.error("container %r: streams: %s", self.id, error)  # noqa: TRY400 (no trace wanted)
            self._stdio.close()

    def _make_cgroup(self) -> None:
        self.cgroup.check_unused()
        # The record first: if we die in between, `delete` knows what to look for.
        record.write_cgroups(self.bundle.path, self.cgroup.paths)
        self._owns_cgroup = True
        self.cgroup.create()

    def _forked(self, pid: int) -> None:
        record.add_process(self.bundle.path, pid)

    async def _clean_up(self) -> None:
        """Leave nothing behind. What fails is logged, and left to the `delete` command.

        The container is gone all the same: an error here would leave one that nobody can
        delete, and a daemon that never ends.
        """
        if self._stdio:
            self._stdio.close()
        try:
            if self._owns_cgroup and await self._removed_cgroup():
                record.remove(self.bundle.path)
        except OSError as error:
            log.error("container %r: cannot clean up: %s", self.id, error)  # noqa: TRY400 (no trace wanted)

    async def _removed_cgroup(self) -> bool:
        for seconds in _CGROUP_RETRY_SECONDS:
            if self.cgroup.try_remove():
                return True
            await asyncio.sleep(seconds)
        # The record stays in the bundle, so that `delete` tries again.
        log.error("container %r: cgroup %s is still busy", self.id, self.cgroup.paths[0])
        return False


def _group_name(bundle: Bundle) -> str:
    """A group's name where the spec asks for none: ids are unique in one namespace only."""
    return f"{bundle.id}-{zlib.crc32(bundle.path.encode()):08x}"


def rootfs_mounts(messages: list[MountMessage]) -> tuple[Mount, ...]:
    """The rootfs list of a Create request, as mounts with a destination inside the root.

    Raises InvalidArgument for a word that holds a NUL or a target that climbs.
    """
    return tuple(_rootfs_mount(message) for message in messages)


def _rootfs_mount(message: MountMessage) -> Mount:
    words = (message.type, message.source, message.target, *message.options)
    if any("\0" in word for word in words):
        raise InvalidArgument(f"rootfs mount of {message.source!r}: holds a NUL byte")
    if not message.type:
        raise InvalidArgument(f"rootfs mount of {message.source!r}: has no type")
    if message.type == "bind" and not os.path.exists(message.source):
        raise NotFound(f"rootfs mount of {message.source!r}: it does not exist")
    destination = "/" + message.target.lstrip("/")
    return Mount(destination, message.type, message.source, tuple(message.options))
