"""A process as its container's clients see it, be it the init process or an exec: its streams,
its status, and how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable

from pelagos_core import reasons
from pelagos_core.backends.registry import NATIVE
from pelagos_core.backends.selection import Selection
from pelagos_core.config.node_file import CacheSettings
from pelagos_core.errors import FailedPrecondition, InvalidArgument, NotFound, PelagosError, to_status, with_reason
from pelagos_core.exit_status import ExitStatus
from pelagos_core.isolation.plan import Plan
from pelagos_core.launch.init import JoinTarget
from pelagos_core.launch.nursery import Nursery
from pelagos_core.linux import process_stat
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.reasons import because
from pelagos_core.task.process import Process
from pelagos_core.task.state import Action, Lifecycle, Status
from pelagos_core.task.streams.stdio import Stdio, StdioPaths

log = logging.getLogger(__name__)

DEADLINE_PASSED = 124  # as timeout(1) has it; 137 would look like an OOM kill

_MAX_SIGNAL = 64
_READER_SECONDS = 1.0  # containerd's own shim waits for readers in Create, and for ever
_SETTLE_SECONDS = 2.0  # what containerd's own shim waits in Delete for its copying
_SETTLE_TRIES = 4


class Execution:
    """One process, from the request for it to its Delete.

    id: its exec id; empty for the init process. name: what errors call it.
    exit: how it ended, once it has.
    """

    def __init__(
        self,
        id: str,
        bundle: Bundle,
        selection: Selection,
        cache: CacheSettings,
        paths: StdioPaths,
        nursery: Nursery | None = None,
    ) -> None:
        """bundle: the container's, with this process in `spec.process`. cache, nursery: as for `Process`."""
        self.id = id
        self.name = f"exec {id!r} of container {bundle.id!r}" if id else f"container {bundle.id!r}"
        self.bundle = bundle
        self.paths = paths
        self.exit: ExitStatus | None = None
        self._lifecycle = Lifecycle(self.name, Status.ADDED if id else Status.CREATING)
        self._process = Process(self.name, bundle, selection, cache, nursery)
        self._stdio: Stdio | None = None
        self._size = bundle.spec.process.console_size
        self._timer: asyncio.TimerHandle | None = None
        self._late = False
        self._told: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()

    @property
    def status(self) -> Status:
        """Where it is in its life."""
        return self._lifecycle.status

    @property
    def pid(self) -> int:
        """Its process id; kept after its end, 0 before there is one."""
        return self._process.pid

    @property
    def backend(self) -> str:
        """The name of the backend that runs it; empty before it was chosen."""
        return self._process.backend.name if self._process.backend else ""

    @property
    def reason(self) -> str:
        """Why this backend."""
        return self._process.reason

    @property
    def is_leaving(self) -> bool:
        """Whether it has ended, or is about to.

        The first process of a pid namespace ends after all the others, which the kernel kills.
        """
        return self._process.pidfd < 0 or process_stat.is_leaving(self.pid)

    @property
    def join_target(self) -> JoinTarget:
        """The way into its container. Raises FailedPrecondition once it has ended."""
        return self._process.join_target

    def check(self, action: Action) -> None:
        """Raises FailedPrecondition or NotFound if this cannot be asked of it now."""
        self._lifecycle.check(action)

    def take(self, action: Action) -> None:
        """It has happened to the process. Raises as `check` does, and then nothing has changed."""
        self._lifecycle.apply(action)

    def check_memory_can_change(self) -> None:
        """Raises FailedPrecondition if its engine holds it to the limit of memory that it was started with."""
        if self.status is Status.STOPPED:
            return
        limits = self._process.backend.description.limits if self._process.backend else frozenset[str]()
        if self.bundle.spec.memory_limit is not None and "memory" in limits and "live-memory" not in limits:
            text = f"backend {self.backend!r} holds a guest to the limit that it was started with"
            raise FailedPrecondition(f"{self.name}: linux.resources.memory.limit: {text}", reasons.CGROUP)

    def begin(self) -> None:
        """An exec is to be started. Raises FailedPrecondition if that was done before."""
        self._lifecycle.apply(Action.BEGIN)

    async def create(
        self, plan: Plan, forked: Callable[[int], None], join_target: Callable[[], JoinTarget] | None = None
    ) -> None:
        """Open the streams, make the process and load the workload, up to CREATED.

        Raises what went wrong; no process is left then, and `fail` or `vanish` is to be called.
        """
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s: plan: %s", self.name, "; ".join(plan.describe()))
        uid = self.bundle.spec.host_uid
        with because(reasons.STREAMS):
            self._stdio = Stdio(self.paths, uid, self.bundle.id, self.bundle.namespace)
            self._stdio.resize(*self._size)
            await self._stdio.ready()
        await self._process.create(plan, self._stdio, forked, join_target)
        self._stdio.forked()
        self._lifecycle.apply(Action.CREATED)

    def start(self) -> None:
        """Let the workload run. Raises FailedPrecondition in any other state than CREATED."""
        self._lifecycle.check(Action.START)
        self._process.start()
        self._lifecycle.apply(Action.START)
        assert self._stdio is not None
        self._stdio.started()
        seconds = self.bundle.policy.deadline
        if seconds is not None and self.backend != NATIVE.name:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._expire, seconds)

    def kill(self, signum: int) -> None:
        """Send a signal. Raises InvalidArgument, FailedPrecondition, or NotFound if it has ended."""
        if not 0 <= signum <= _MAX_SIGNAL:
            raise InvalidArgument(f"{self.name}: {signum} is not a signal")
        self._lifecycle.check(Action.KILL)
        if not self.pid:
            raise FailedPrecondition(f"{self.name}: cannot kill, it has no process yet")
        if signum:
            self._process.signal(signum)

    async def ended(self) -> ExitStatus:
        """See the process to its end; it is STOPPED then, and nobody has been told.

        To be called once, after `create`.
        """
        status = await self._process.wait()
        if self._timer:
            self._timer.cancel()
        if self._late and status.code == 128 + signal.SIGKILL:
            status = ExitStatus(DEADLINE_PASSED, status.exited_at)
        self._lifecycle.apply(Action.EXIT)
        self.exit = status
        self._finish_streams()
        log.info("%s: ended with %d", self.name, status.code)
        return status

    async def taken(self) -> None:
        """Give clients a moment to come for the output, before they are told of the end."""
        if self._stdio:
            await self._stdio.taken(_READER_SECONDS)

    def tell(self, status: ExitStatus) -> None:
        """Answer everybody who waits."""
        if not self._told.done():
            self._told.set_result(status)

    async def wait(self) -> ExitStatus:
        """Wait for the end to be told; any number of callers, at any time.

        Raises NotFound if it never had a process and has none to come.
        """
        return await asyncio.shield(self._told)

    async def fail(self) -> None:
        """It could not be started: it is STOPPED, with nothing left of it, and its waiters are told."""
        if self.status is Status.CREATED:
            await self._process.abandon()
        self._lifecycle.apply(Action.FAIL)
        self.exit = ExitStatus.unknown()
        self.close()
        self.tell(self.exit)

    def explain(self, error: BaseException) -> None:
        """Say on the process' own stderr why it will not run, if somebody has that open."""
        if not isinstance(error, Exception):
            return  # the daemon is ending
        if self._stdio is None:
            with contextlib.suppress(PelagosError, OSError):
                self._stdio = Stdio(self.paths, os.getuid(), self.bundle.id, self.bundle.namespace)
        if self._stdio is not None:
            self._stdio.say(f"pelagos: {to_status(error)[1]}\n")

    def vanish(self, action: Action) -> None:
        """It ends without ever having been a process; `action` is what happened."""
        self._lifecycle.apply(action)
        if not self._told.done():
            self._told.set_exception(NotFound(f"{self.name} was never {'started' if self.id else 'created'}"))
            self._told.exception()  # nobody need wait: asyncio is not to complain about that

    async def delete(self) -> ExitStatus | None:
        """Forget it; how it ended, None if it never ran.

        Raises FailedPrecondition while it runs.
        """
        if self.status is Status.ADDED:
            self.vanish(Action.DELETE)
            return None
        self._lifecycle.apply(Action.DELETE)
        status = await self.wait()
        if self._stdio:
            await self._stdio.settle(_SETTLE_SECONDS, _SETTLE_TRIES)
        self.close()
        return status

    def resize(self, width: int, height: int) -> None:
        """Set the terminal's size in characters, also of one to come; without a terminal nothing happens."""
        self._size = (width, height)
        if self._stdio:
            self._stdio.resize(width, height)

    def close_stdin(self) -> None:
        """Close the daemon's hold on the process' input."""
        if self._stdio:
            self._stdio.close_stdin()

    def close(self) -> None:
        """Close the streams now; bytes that nobody has read are lost."""
        if self._stdio:
            self._stdio.close()

    def _expire(self, seconds: float) -> None:
        """End a guest that has had its time, whatever its engine does."""
        log.info("%s: its deadline of %g s has passed", self.name, seconds)
        self._late = True
        if self._stdio:
            text = f"pelagos: the deadline of {seconds:g} s has passed"
            self._stdio.complain(with_reason(text, reasons.DEADLINE))
        self._process.signal(signal.SIGKILL)

    def _finish_streams(self) -> None:
        assert self._stdio is not None
        try:
            self._stdio.finish()
        except OSError as error:  # no descriptor is left: the exit is told all the same
            log.error("%s: streams: %s", self.name, error)  # noqa: TRY400 (no trace wanted)
            self._stdio.close()
