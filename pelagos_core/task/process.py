"""A process of a container, be it the init process or an exec: its streams, its status, its signals, its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable

from pelagos_core import reasons
from pelagos_core.backends import builtin
from pelagos_core.backends.registry import NATIVE
from pelagos_core.backends.selection import Selection
from pelagos_core.config.node_file import CacheSettings
from pelagos_core.errors import FailedPrecondition, InvalidArgument, NotFound, PelagosError, to_status, with_reason
from pelagos_core.exit_status import ExitStatus
from pelagos_core.isolation.plan import Plan
from pelagos_core.launch.conversation import Conversation
from pelagos_core.launch.init import JoinTarget
from pelagos_core.launch.launch import Launch, Launched
from pelagos_core.launch.launcher import Launcher
from pelagos_core.linux import pidfd, process_stat
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.reasons import because
from pelagos_core.task.control import Control
from pelagos_core.task.state import Action, Lifecycle, Status
from pelagos_core.task.streams.stdio import Stdio, StdioPaths

log = logging.getLogger(__name__)

DEADLINE_PASSED = 124  # as timeout(1) has it; 137 would look like an OOM kill

_MAX_SIGNAL = 64
_READER_SECONDS = 1.0  # containerd's own shim waits for readers in Create, and for ever
_SETTLE_SECONDS = 2.0  # what containerd's own shim waits in Delete for its copying
_SETTLE_TRIES = 4
_TELL_SECONDS = 2.0  # for a backend to tell how its process ended, once it has


class Process:
    """One process, from the request for it to its Delete. In the daemon.

    id: its exec id; empty for the init process. name: what errors call it.
    pid: kept after its end, 0 before there is one. pidfd: -1 unless it waits for Start or runs.
    termination_signal: the signal that a SIGKILL stands for, see `hookspecs.RunningProcess`.
    exit: how it ended, once it has.
    """

    def __init__(
        self,
        id: str,
        bundle: Bundle,
        selection: Selection,
        cache: CacheSettings,
        paths: StdioPaths,
        launcher: Launcher,
    ) -> None:
        """bundle: the container's, with this process in `spec.process`. cache: of compiled code."""
        self.id = id
        self.name = f"exec {id!r} of container {bundle.id!r}" if id else f"container {bundle.id!r}"
        self.bundle = bundle
        self.paths = paths
        self.pid = 0
        self.pidfd = -1
        self.termination_signal = 0
        self.exit: ExitStatus | None = None
        self._selection, self._cache, self._launcher = selection, cache, launcher
        self._lifecycle = Lifecycle(self.name, Status.ADDED if id else Status.CREATING)
        self._conversation: Conversation | None = None
        self._launched: Launched | None = None
        self._control: Control | None = None
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
    def backend(self) -> str:
        """The name of the backend that runs it; empty before it was chosen."""
        return self._launched.backend.name if self._launched else ""

    @property
    def reason(self) -> str:
        """Why this backend."""
        return self._launched.reason if self._launched else ""

    @property
    def is_leaving(self) -> bool:
        """Whether it has ended, or is about to.

        The first process of a pid namespace ends after all the others, which the kernel kills.
        """
        return self.pidfd < 0 or process_stat.is_leaving(self.pid)

    @property
    def join_target(self) -> JoinTarget:
        """The way into its container. Raises FailedPrecondition unless it waits for Start or runs."""
        if self.pidfd < 0 or self._launched is None:
            raise FailedPrecondition(f"{self.name}: its process is gone")
        return JoinTarget(self.pidfd)

    @property
    def is_enclosed(self) -> bool:
        """Whether its container's root is below an engine root, in its mount namespace."""
        return self._launched is not None and self._launched.enclosed

    def check(self, action: Action) -> None:
        """Raises FailedPrecondition or NotFound if this cannot be asked of it now."""
        self._lifecycle.check(action)

    def take(self, action: Action) -> None:
        """Record that `action` has happened. Raises as `check` does, and then nothing has changed."""
        self._lifecycle.apply(action)

    def check_memory_can_change(self) -> None:
        """Raises FailedPrecondition if its engine holds it to the limit of memory that it was started with."""
        if self.status is Status.STOPPED:
            return
        limits = self._launched.backend.description.limits if self._launched else frozenset[str]()
        if self.bundle.spec.memory_limit is not None and "memory" in limits and "live-memory" not in limits:
            text = f"backend {self.backend!r} holds a guest to the limit that it was started with"
            raise FailedPrecondition(f"{self.name}: linux.resources.memory.limit: {text}", reasons.CGROUP)

    async def create(
        self, plan: Plan, forked: Callable[[int, int], None], find_target: Callable[[], JoinTarget] | None = None
    ) -> None:
        """Open the streams, make the process and load the workload, up to CREATED.

        forked: called with the pid of each process that is forked, and that of the one before, 0 for none.
        find_target: as in `Launch`.
        Raises what went wrong; no process is left then, and `fail` or `vanish` is to be called.
        """
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s: plan: %s", self.name, "; ".join(plan.describe()))
        with because(reasons.STREAMS):
            stdio = Stdio(self.paths, self.bundle.spec.host_uid, self.bundle.id, self.bundle.namespace)
            self._stdio = stdio
            stdio.resize(*self._size)
            await stdio.ready()

        def is_forked(pid: int) -> None:
            before, self.pid = self.pid, pid
            forked(pid, before)

        launch = Launch(self.name, self.bundle, plan, self._selection, self._cache, stdio, is_forked, find_target)
        self._conversation = self._launcher.begin(launch)
        try:
            launched = await self._conversation.run()
        finally:
            self._conversation = None
        self._launched, self.pidfd, self.termination_signal = launched, launched.pidfd, launched.termination_signal
        self._control = Control(self.name, launched.control, self._signal)
        stdio.forked()
        self._lifecycle.apply(Action.CREATED)

    def start(self) -> None:
        """Let the workload run. Raises FailedPrecondition in any other state than CREATED."""
        self._lifecycle.check(Action.START)
        assert self._stdio is not None
        assert self._control is not None
        assert self._launched is not None
        try:
            self._control.go(listens=self._launched.listens)
        except OSError:
            raise FailedPrecondition(f"{self.name}: cannot start, its process is gone") from None
        self._lifecycle.apply(Action.START)
        self._stdio.started()
        seconds = self.bundle.policy.deadline
        if seconds is not None and self._launched.backend is not NATIVE:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._expire, seconds)

    def kill(self, signum: int) -> None:
        """Send a signal. Raises InvalidArgument, FailedPrecondition, or NotFound if it has ended."""
        if not 0 <= signum <= _MAX_SIGNAL:
            raise InvalidArgument(f"{self.name}: {signum} is not a signal")
        self._lifecycle.check(Action.KILL)
        if not self.pid:
            raise FailedPrecondition(f"{self.name}: cannot kill, it has no process yet")
        if signum:
            (self._conversation.signal if self._conversation else self._signal)(signum)

    async def ended(self) -> ExitStatus:
        """See the process to its end and reap it; it is STOPPED then, and its waiters are not told yet.

        To be called once, after `create`.
        """
        status = await self._reaped()
        if self._timer:
            self._timer.cancel()
        if self._late and status.code == 128 + signal.SIGKILL:
            status = ExitStatus(DEADLINE_PASSED, status.exited_at)
        self._lifecycle.apply(Action.EXIT)
        self.exit = status
        self._finish_streams()
        log.debug("%s: ended with %d", self.name, status.code)
        return status

    async def taken(self) -> None:
        """Wait a moment for a reader of the output, before clients are told of the end."""
        if self._stdio:
            await self._stdio.taken(_READER_SECONDS)

    def tell(self, status: ExitStatus) -> None:
        """Answer all callers of `wait`."""
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
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            await pidfd.ended(self.pidfd)
            self._reap()
            self._close_process()
        self._lifecycle.apply(Action.FAIL)
        self.exit = ExitStatus.unknown()
        self.close()
        self.tell(self.exit)

    def explain(self, error: BaseException) -> None:
        """Say on the process' own stderr why it will not run, if a client has that open."""
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
            self._told.exception()  # there may be no caller of `wait`: asyncio is not to complain about that

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
        """Close the streams now; bytes without a reader are lost."""
        if self._stdio:
            self._stdio.close()

    def _signal(self, signum: int) -> None:
        """Deliver a signal by way of the backend. A process that is gone is no error.

        SIGKILL goes straight to the process: no backend can keep a container alive.
        """
        assert self._launched is not None
        with contextlib.suppress(ProcessLookupError):
            if signum == signal.SIGKILL:
                builtin.pelagos_signal(self, signum)
            else:
                self._launched.backend.signal(self, signum)

    async def _reaped(self) -> ExitStatus:
        """Wait for the end and reap.

        The backend tells how it ended; that it ended is the kernel's to say, so a backend
        that fails, tells nonsense or never answers costs no more than its own answer.
        """
        assert self._launched is not None
        assert self._control is not None
        told = asyncio.ensure_future(self._launched.backend.wait(self))
        await pidfd.ended(self.pidfd)
        await asyncio.wait({told}, timeout=_TELL_SECONDS)
        seen = self._reap()  # first: a key that was pressed too late has not ended it
        self._control.drain()
        told.cancel()
        answer = None if not told.done() or told.cancelled() else told.result()
        self._close_process()
        return answer or seen or ExitStatus.unknown()

    def _reap(self) -> ExitStatus | None:
        try:
            return builtin.reap(self)
        except ChildProcessError:
            return None  # the backend, or the built-in wait, has reaped it

    def _close_process(self) -> None:
        assert self._control is not None
        self._control.close()
        os.close(self.pidfd)
        self.pidfd = -1

    def _expire(self, seconds: float) -> None:
        """End a guest that has had its time, whatever its engine does."""
        log.info("%s: its deadline of %g s has passed", self.name, seconds)
        self._late = True
        if self._stdio:
            text = f"pelagos: the deadline of {seconds:g} s has passed"
            self._stdio.complain(with_reason(text, reasons.DEADLINE))
        self._signal(signal.SIGKILL)

    def _finish_streams(self) -> None:
        assert self._stdio is not None
        try:
            self._stdio.finish()
        except OSError as error:  # no descriptor is left: the exit is told all the same
            log.error("%s: streams: %s", self.name, error)  # noqa: TRY400 (no trace wanted)
            self._stdio.close()
