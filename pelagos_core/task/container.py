"""A container: a bundle, its processes, its control group."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from pelagos_core import oci, reasons
from pelagos_core.backends.builtin import is_deadly
from pelagos_core.backends.registry import NATIVE
from pelagos_core.backends.selection import Selection
from pelagos_core.cgroups.group import Cgroup
from pelagos_core.cgroups.hierarchies import KnownHierarchies
from pelagos_core.cgroups.systemd_units import Scope
from pelagos_core.config.node_file import CacheSettings
from pelagos_core.errors import (
    AlreadyExists,
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    NotFound,
    PelagosError,
)
from pelagos_core.exit_status import ExitStatus
from pelagos_core.isolation.plan import joining_plan, plan
from pelagos_core.isolation.system_calls import Filters
from pelagos_core.launch import runtime_hooks
from pelagos_core.launch.launcher import Launcher
from pelagos_core.oci import Resources
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.reasons import because
from pelagos_core.shim import record
from pelagos_core.task import events
from pelagos_core.task.oom import OomWatch
from pelagos_core.task.process import Process
from pelagos_core.task.publisher import Sink
from pelagos_core.task.scope import ContainerScope
from pelagos_core.task.state import Action, Status
from pelagos_core.task.streams.stdio import StdioPaths
from pelagos_core.tracing.spans import annotate, span, spanned

log = logging.getLogger(__name__)

_LIVE = frozenset({Status.CREATED, Status.RUNNING, Status.PAUSING, Status.PAUSED})
_FREEZE_RETRY_SECONDS = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_END_RETRY_SECONDS = 0.02
_CGROUP_RETRY_SECONDS = (0.001, 0.005, 0.02, 0.1, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Facilities:
    """The objects that all containers of one daemon share."""

    sink: Sink
    launcher: Launcher
    hierarchies: KnownHierarchies


class Container:
    """One container in this daemon. Created by `create`, removed by `delete`."""

    def __init__(
        self, bundle: Bundle, selection: Selection, cache: CacheSettings, paths: StdioPaths, facilities: Facilities
    ) -> None:
        sink, launcher = facilities.sink, facilities.launcher
        self.bundle = bundle
        self.cgroup = Cgroup.of(bundle.spec.cgroups_path, _group_name(bundle), facilities.hierarchies.now())
        self.init = Process("", bundle, selection, cache, paths, launcher)
        self._execs: dict[str, Process] = {}
        self._selection, self._cache, self._launcher = selection, cache, launcher
        self._sink = sink
        self._scope = ContainerScope(bundle.id, Scope.of(bundle.spec.cgroups_path), self.cgroup)
        self._updating, self._owns_cgroup, self._was_joined = asyncio.Lock(), False, False
        self._watchers: set[asyncio.Task[None]] = set()
        self._oom = OomWatch(bundle.id, self.cgroup, sink, launcher.metrics)

    @property
    def id(self) -> str:
        """The container's id."""
        return self.bundle.id

    @property
    def status(self) -> Status:
        """The status of its init process."""
        return self.init.status

    @property
    def exec_ids(self) -> dict[int, str]:
        """The exec id of each process that has one."""
        return {process.pid: process.id for process in self._execs.values() if process.pid}

    def process(self, exec_id: str) -> Process:
        """The process of this exec id, the init process for an empty one. Raises NotFound."""
        if not exec_id:
            return self.init
        found = self._execs.get(exec_id)
        # A process that is being cleaned up is listed for Exec only: its id is not free yet.
        if found is None or found.status is Status.DELETED:
            raise NotFound(f"container {self.id!r} has no process {exec_id!r}")
        return found

    async def create(self) -> None:
        """Create the init process and load the workload, up to CREATED.

        After an error no process, cgroup, descriptor or record is left.
        """
        try:
            with because(reasons.SPEC, self.init.name):
                steps = plan(self.bundle, self.cgroup, self._filters())
            with because(reasons.CGROUP), span("control group"):
                await self._make_cgroup()
            await self.init.create(steps, partial(self._record, record.add_process))
            self._scope.end_placeholder()
        except BaseException as error:
            self.init.write_error(self._oom.explained(error))
            self.init.discard(Action.EXIT)
            await self._clean_up()
            await self._run_poststop_hooks()
            raise
        self._watch(self.init)
        log.debug("container %r: created by backend %r: %s", self.id, self.init.backend, self.init.reason)

    def add(self, exec_id: str, process: oci.Process, paths: StdioPaths) -> None:
        """Exec: add a further process, which `start` creates.

        Raises AlreadyExists, or FailedPrecondition if the container has ended.
        """
        self.init.check(Action.EXEC)
        if exec_id in self._execs:
            raise AlreadyExists(f"container {self.id!r}: process {exec_id!r} already exists")
        selection = replace(self._selection, first=self.init.backend)
        bundle = self.bundle.executing(process)
        self._execs[exec_id] = Process(exec_id, bundle, selection, self._cache, paths, self._launcher)
        self._sink.publish(events.exec_added(self.id, exec_id))

    async def start(self, exec_id: str = "") -> None:
        """Start the guest, or create and start a further process.

        Raises FailedPrecondition in any other state than CREATED, or ADDED for an exec. If an exec cannot be
        created, or a server does not accept connections, raises that error; the process is STOPPED then.
        """
        process = self.process(exec_id)
        if exec_id:
            await self._start_exec(process)
            return
        process.start()
        # Queued with no await in between, so that no exit event precedes it.
        self._sink.publish(events.task_start(self.id, process.pid))
        await process.serving()
        try:
            await runtime_hooks.run(self.bundle.spec.hooks.poststart, self.bundle, "running", process.pid)
        except PelagosError:
            if self.status in _LIVE:
                self.kill(signal.SIGKILL, everything=True)  # as runc does
            raise

    def kill(self, signum: int, *, everything: bool) -> None:
        """Send a signal to the init process, or to every process of the container.

        Raises InvalidArgument, or NotFound if the init process has ended.
        """
        self.init.kill(signum)
        # A deadly signal to a guest becomes SIGKILL, and on cgroup v1 a frozen process does not act on it.
        if signum == signal.SIGKILL or (is_deadly(signum) and self.init.backend != NATIVE.name):
            self._leave_pause()
        if everything and signum:
            for process in self._execs.values():
                if process.status is Status.RUNNING:
                    process.kill(signum)
            self._kill_others(signum)

    async def pause(self) -> None:
        """Freeze every process of the container.

        Raises FailedPrecondition in any other state than RUNNING, even if the container ends meanwhile;
        DeadlineExceeded if its processes do not freeze: they are thawed then.
        """
        self.init.apply(Action.PAUSE)
        try:
            await self._frozen()
            self.init.apply(Action.PAUSED)
        except BaseException:
            self._leave_pause()
            raise
        self._sink.publish(events.task_paused(self.id))

    def resume(self) -> None:
        """Thaw the processes. Raises FailedPrecondition in any other state than PAUSED."""
        self.init.apply(Action.RESUME)
        self.cgroup.thaw()
        self._sink.publish(events.task_resumed(self.id))

    async def update(self, resources: Resources) -> None:
        """Change the limits of a container that has not ended. A limit that is not given stays unchanged.

        Raises a PelagosError; all limits are unchanged then.
        """
        async with self._updating:  # one at a time: a failed Update restores the values that it has read
            self.init.apply(Action.UPDATE)
            if self.cgroup.changes_memory(resources):
                for process in (self.init, *self._execs.values()):
                    process.check_memory_can_change()
            with self.cgroup.updated(resources):
                await self._scope.update(resources)  # else systemd restores the former limits at `daemon-reload`

    def pids(self) -> list[int]:
        """The container's processes. The init process is listed until the container is deleted.

        After a restart, containerd 1.7 and later treat a shim with an empty list as leaked, and
        lose the exit code of a task that has ended meanwhile.
        """
        return sorted({self.init.pid, *self.cgroup.processes()} - {0})

    async def delete(self) -> ExitStatus:
        """Remove an ended container; one in the state CREATED is killed first."""
        if self.status is Status.CREATED:
            self.kill(signal.SIGKILL, everything=True)
            await self.init.wait()
        status = await self.init.delete()
        assert status is not None
        await self._clean_up()
        await self._run_poststop_hooks()
        self._sink.publish(events.task_delete(self.id, self.init.pid, status))
        return status

    async def delete_exec(self, exec_id: str) -> ExitStatus | None:
        """Remove a further process that has ended or was never started; return its exit status."""
        status = await self.process(exec_id).delete()
        del self._execs[exec_id]
        return status

    async def end(self) -> None:
        """Kill and remove the container in any state: the daemon is ending."""
        while self.status is Status.CREATING:
            # Create fails then and cleans up. Repeated: the process may not exist yet, or be replaced by another.
            with contextlib.suppress(PelagosError):
                self.kill(signal.SIGKILL, everything=True)
            await asyncio.sleep(_END_RETRY_SECONDS)
        if self.status in _LIVE:
            self.kill(signal.SIGKILL, everything=True)
            await self.init.wait()
        if self.status is Status.STOPPED:
            await self.delete()

    async def _run_poststop_hooks(self) -> None:
        """Run the poststop hooks. A hook that fails is logged, and the remaining hooks run."""
        for hook in self.bundle.spec.hooks.poststop:
            try:
                await runtime_hooks.run([hook], self.bundle, "stopped", 0)
            except (PelagosError, OSError) as error:
                log.warning("%s", error)

    async def _start_exec(self, process: Process) -> None:
        self.init.check(Action.EXEC)
        process.apply(Action.BEGIN)
        self._was_joined = True
        try:
            with because(reasons.SPEC, process.name):
                native = self.init.backend == NATIVE.name
                enclosed = self.init.is_enclosed
                steps = joining_plan(process.bundle, self.cgroup, self._filters(), native=native, enclosed=enclosed)
            await process.create(steps, partial(self._record, record.add_exec), lambda: self.init.join_target)
            process.start()
        except BaseException as error:
            if isinstance(error, (Internal, Cancelled)) and self.init.is_exiting:
                error = FailedPrecondition(f"{process.name}: cannot start, its container has ended")
            process.write_error(error)
            await process.fail()
            self._forget(process)
            raise error from None
        self._sink.publish(events.exec_started(self.id, process.id, process.pid))
        self._watch(process)
        await process.serving()
        log.debug("%s: started by backend %r: %s", process.name, process.backend, process.reason)

    def _watch(self, process: Process) -> None:
        watcher = asyncio.ensure_future(spanned("process", self._handle_exit(process), process__pid=process.pid))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)

    async def _handle_exit(self, process: Process) -> None:
        """Wait for the end of a process; publish its exit and answer Wait in the promised order."""
        status = await process.ended()
        annotate(process__exit__code=status.code)
        self._oom.look()
        if process is self.init:
            self._kill_remaining()
            for other in [other for other in self._execs.values() if other.pid]:
                await other.wait()
        else:
            self._forget(process)
        await process.wait_for_reader()
        self._sink.publish(events.task_exit(self.id, process.id, process.pid, status))
        process.answer_waiters(status)

    async def _frozen(self) -> None:
        """Return once every process is frozen."""
        self.cgroup.freeze()
        for seconds in _FREEZE_RETRY_SECONDS:
            if self.cgroup.is_frozen():
                return
            await asyncio.sleep(seconds)
            self.init.check(Action.PAUSED)  # it may have ended
            self.cgroup.freeze()  # freezer-subsystem.rst: a process forked meanwhile may need another write
        raise DeadlineExceeded(f"container {self.id!r}: cannot pause, its processes do not stop")

    def _leave_pause(self) -> None:
        """Thaw a container that is paused or being paused: a frozen process does not act on SIGKILL (cgroup v1)."""
        if self.status in (Status.PAUSING, Status.PAUSED):
            self.init.apply(Action.RESUME if self.status is Status.PAUSED else Action.CANCEL_PAUSE)
            self.cgroup.thaw()

    def _kill_remaining(self) -> None:
        """Kill the remaining processes of the container. The kernel has killed those in its own pid namespace."""
        namespace = self.bundle.spec.namespace("pid")
        if namespace is None or namespace.path:
            try:
                self.cgroup.kill(signal.SIGKILL)
            except OSError as error:
                log.error("container %r: cgroup: %s", self.id, error)  # noqa: TRY400 (no trace wanted)
        for process in self._execs.values():  # includes a process that has not joined the cgroup yet
            if process.pid and process.status in (Status.CREATING, Status.CREATED, Status.RUNNING):
                process.kill(signal.SIGKILL)

    def _kill_others(self, signum: int) -> None:
        """Send a signal to the processes that the container's processes have started."""
        for pid in set(self.cgroup.processes()) - {self.init.pid, *self.exec_ids}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)

    def _filters(self) -> Filters:
        return Filters.of(self.bundle.spec.seccomp, self.bundle.policy)

    async def _make_cgroup(self) -> None:
        self.cgroup.check_unused()
        # The record first: if the daemon is killed in between, `delete` finds the group by it.
        record.write_cgroups(self.bundle.path, self.cgroup.paths)
        self._owns_cgroup = True
        await self._scope.start(self.bundle.spec.resources)
        self.cgroup.create(self.bundle.spec.resources)
        self._oom.start()

    def _record(self, add: Callable[[str, int], None], pid: int, before: int) -> None:
        """Add a process to the record. before: pid of the process that it replaces, or 0."""
        if before:
            record.remove_process(self.bundle.path, before)
        add(self.bundle.path, pid)

    def _forget(self, process: Process) -> None:
        try:
            record.remove_process(self.bundle.path, process.pid)
        except OSError as error:
            log.warning("%s: record: %s", process.name, error)

    async def _clean_up(self) -> None:
        """Remove everything that belongs to the container. An error is logged; the `delete` command tries again.

        The container is removed from the daemon in any case: after an error here no client could
        delete it, and the daemon would never end.
        """
        self._oom.stop()
        self.init.close()
        for process in self._execs.values():
            if process.status is Status.ADDED:
                process.discard(Action.DELETE)
            process.close()
        is_empty = False
        try:
            if self._owns_cgroup and await self._removed_cgroup():
                is_empty = True
                record.remove(self.bundle.path)
        except (OSError, PelagosError) as error:
            log.error("container %r: cannot clean up: %s", self.id, error)  # noqa: TRY400 (no trace wanted)
        if is_empty and not self._was_joined:  # an exec may have changed the network namespace
            self._launcher.networks.put(self.init.network)
        else:
            self.init.network.close()

    async def _removed_cgroup(self) -> bool:
        await self._scope.stop()
        for seconds in _CGROUP_RETRY_SECONDS:
            if self.cgroup.try_remove():
                return True
            await asyncio.sleep(seconds)
        # The record stays in the bundle, so that `delete` tries again.
        log.error("container %r: cgroup %s is still busy", self.id, self.cgroup.paths[0])
        return False


def _group_name(bundle: Bundle) -> str:
    """The default name of a control group. A container id is unique in its containerd namespace only."""
    return f"{bundle.id}-{zlib.crc32(bundle.path.encode()):08x}"
