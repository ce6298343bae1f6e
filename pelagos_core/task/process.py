"""A process of a container, the init process or an exec: its streams, status, signals and exit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable
from functools import partial

from pelagos_core import reasons
from pelagos_core.backends import builtin
from pelagos_core.backends.registry import NATIVE, Backend
from pelagos_core.backends.selection import Selection
from pelagos_core.config.node_file import CacheSettings
from pelagos_core.errors import FailedPrecondition, InvalidArgument, NotFound, PelagosError, to_status, with_reason
from pelagos_core.exit_status import ExitStatus
from pelagos_core.isolation.plan import Plan
from pelagos_core.launch.conversation import Conversation
from pelagos_core.launch.init import JoinTarget
from pelagos_core.launch.launch import NO_NETWORK, Launch, Launched
from pelagos_core.launch.launcher import Launcher
from pelagos_core.linux import pidfd, process_stat
from pelagos_core.linux.descriptor import Fd
from pelagos_core.metrics.families import MEMORY_REFUSALS
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.reasons import because
from pelagos_core.task.control import Control
from pelagos_core.task.state import Action, Lifecycle, Status
from pelagos_core.task.streams.stdio import Stdio, StdioPaths
from pelagos_core.tracing.spans import annotate, spanned

log = logging.getLogger(__name__)

DEADLINE_PASSED = 124  # as timeout(1) exits; 137 would look like an OOM kill

_MAX_SIGNAL = 64
_READER_SECONDS = 1.0  # containerd's own shim waits for readers in Create, without a limit
_DRAIN_SECONDS = 2.0  # containerd's own shim waits as long in Delete until its output is copied
_DRAIN_TRIES = 4
_FAILED_SECONDS = 1.0  # for a server that has failed to exit
_REPORT_SECONDS = 2.0  # for a backend's answer to `wait`, after the process has ended


class Process:
    """One process, from the request for it to its Delete. In the daemon.

    id: its exec id; empty for the init process. name: for error messages.
    pid: 0 before the fork, kept after the exit. pidfd: -1 unless the process waits for Start or runs.
    termination_signal: the signal to report for an exit by SIGKILL, see `hookspecs.RunningProcess`.
    exit: the exit status; None until the process has ended.
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
        self._answer: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()

    @property
    def status(self) -> Status:
        """The status by the table of `state`."""
        return self._lifecycle.status

    @property
    def backend(self) -> str:
        """The name of its backend; empty before one is chosen."""
        return self._launched.backend.name if self._launched else ""

    @property
    def reason(self) -> str:
        """Why this backend was chosen."""
        return self._launched.reason if self._launched else ""

    @property
    def is_late(self) -> bool:
        """Whether its deadline has passed."""
        return self._late

    @property
    def serves(self) -> bool:
        """Whether it is a server: it counts as started when it accepts connections."""
        return self._launched is not None and self._launched.serves

    @property
    def is_exiting(self) -> bool:
        """Whether it has ended, or is about to.

        The first process of a pid namespace ends after all the others, which the kernel kills.
        """
        return self.pidfd < 0 or process_stat.is_exiting(self.pid)

    @property
    def join_target(self) -> JoinTarget:
        """The container to join, by this process. Raises FailedPrecondition unless it waits for Start or runs."""
        if self.pidfd < 0 or self._launched is None:
            raise FailedPrecondition(f"{self.name}: its process is gone")
        return JoinTarget(self.pidfd, self.bundle.spec.process.args[0], self._launched.image)

    @property
    def network(self) -> Fd:
        """Its empty network namespace, if a later guest may use it; else -1. The caller must close it."""
        return self._launched.network if self._launched else NO_NETWORK

    @property
    def is_enclosed(self) -> bool:
        """Whether its container's root is below an engine root, in its mount namespace."""
        return self._launched is not None and self._launched.enclosed

    def follow(self, moved: Callable[[Process, Status, Status], None]) -> None:
        """Set a callback: `moved` is called after each change of the status, with the former and the new status."""
        self._lifecycle.moved = partial(moved, self)

    def check(self, action: Action) -> None:
        """Raise FailedPrecondition or NotFound if `action` is not possible in this state."""
        self._lifecycle.check(action)

    def apply(self, action: Action) -> None:
        """Record that `action` has happened. Raises as `check` does; the status is unchanged then."""
        self._lifecycle.apply(action)

    def check_memory_can_change(self) -> None:
        """Raise FailedPrecondition if its engine cannot change the memory limit of a running guest."""
        if self.status is Status.STOPPED:
            return
        limits = self._launched.backend.description.limits if self._launched else frozenset[str]()
        if self.bundle.spec.memory_limit is not None and "memory" in limits and "live-memory" not in limits:
            text = f"backend {self.backend!r} cannot change the limit of a running guest"
            raise FailedPrecondition(f"{self.name}: linux.resources.memory.limit: {text}", reasons.CGROUP)

    async def create(
        self, plan: Plan, forked: Callable[[int, int], None], find_target: Callable[[], JoinTarget] | None = None
    ) -> None:
        """Open the streams, fork the process and load the workload, up to CREATED.

        forked: called with the pid of each forked process and the pid of the one that it replaces, or 0.
        find_target: as in `Launch`.
        Raises the error of the launch. No process is left then; the caller must call `fail` or `discard`.
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

        metrics = self._launcher.metrics
        launch = Launch(
            self.name, self.bundle, plan, self._selection, self._cache, stdio, is_forked, find_target, metrics
        )
        self._conversation = self._launcher.begin(launch)
        try:
            launched = await spanned("launch", self._conversation.run())
        finally:
            self._conversation = None
        self._launched, self.pidfd, self.termination_signal = launched, launched.pidfd, launched.termination_signal
        annotate(pelagos__backend=launched.backend.name)
        self._control = Control(self.name, launched.control, self._signal, self._count_refusal)
        stdio.forked()
        self._lifecycle.apply(Action.CREATED)

    def start(self) -> None:
        """Start the workload. Raises FailedPrecondition in any other state than CREATED."""
        self._lifecycle.check(Action.START)
        assert self._stdio is not None
        assert self._control is not None
        assert self._launched is not None
        try:
            self._control.start(listens=self._launched.listens)
        except OSError:
            raise FailedPrecondition(f"{self.name}: cannot start, its process is gone") from None
        self._lifecycle.apply(Action.START)
        self._stdio.started()
        seconds = self.bundle.policy.deadline
        if seconds is not None and self._launched.backend is not NATIVE:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._expire, seconds)

    async def serving(self) -> None:
        """If it is a server, wait until it accepts connections. Right after `start`. Raises as `Control.serving`."""
        try:
            if self.serves and self._control is not None:
                await self._control.serving()
        except PelagosError:
            await self._end_of_server()
            raise

    async def _end_of_server(self) -> None:
        """Wait for the exit of a server that has failed to serve; kill it after _FAILED_SECONDS."""
        try:
            await asyncio.wait_for(self.wait(), _FAILED_SECONDS)
        except asyncio.TimeoutError:
            if self.pidfd >= 0:  # else it is reaped, and its output still waits for a reader
                self._signal(signal.SIGKILL)
            await self.wait()

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
        """Wait for the process to exit, reap it, and set STOPPED. Call it once; then call `answer_waiters`."""
        status = await self._reaped()
        if self._timer:
            self._timer.cancel()
        if self._late and status.code == 128 + signal.SIGKILL:
            status = ExitStatus(DEADLINE_PASSED, status.exited_at)
        self.exit = status
        self._lifecycle.apply(Action.EXIT)
        self._finish_streams()
        log.debug("%s: ended with %d", self.name, status.code)
        return status

    async def wait_for_reader(self) -> None:
        """Wait up to a second for a reader of the output, before the exit is published."""
        if self._stdio:
            await self._stdio.wait_for_reader(_READER_SECONDS)

    def answer_waiters(self, status: ExitStatus) -> None:
        """Answer all callers of `wait`."""
        if not self._answer.done():
            self._answer.set_result(status)

    async def wait(self) -> ExitStatus:
        """Return the exit status once `answer_waiters` is called. Any number of callers, at any time.

        Raises NotFound if the entry was discarded before it had a process.
        """
        return await asyncio.shield(self._answer)

    async def fail(self) -> None:
        """Handle a failed start: kill and reap the process, close its streams, set STOPPED, answer the waiters."""
        if self.status is Status.CREATED:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            await pidfd.ended(self.pidfd)
            self._reap()
            self._close_process()
        self._lifecycle.apply(Action.FAIL)
        self.exit = ExitStatus.unknown()
        self.close()
        self.answer_waiters(self.exit)

    def write_error(self, error: BaseException) -> None:
        """Write the error of Create or Start to the process' stderr, if a client reads it."""
        if not isinstance(error, Exception):
            return  # the daemon is ending
        if self._stdio is None:
            with contextlib.suppress(PelagosError, OSError):
                self._stdio = Stdio(self.paths, os.getuid(), self.bundle.id, self.bundle.namespace)
        if self._stdio is not None:
            self._stdio.write_text(f"pelagos: {to_status(error)[1]}\n")

    def discard(self, action: Action) -> None:
        """Remove an entry that never had a process: apply `action`, and fail all calls of `wait`."""
        self._lifecycle.apply(action)
        if not self._answer.done():
            self._answer.set_exception(NotFound(f"{self.name} was never {'started' if self.id else 'created'}"))
            self._answer.exception()  # marks it as retrieved: else asyncio logs it if no `wait` reads it

    async def delete(self) -> ExitStatus | None:
        """Remove the process; return its exit status, None if it was never started.

        Raises FailedPrecondition while it runs.
        """
        if self.status is Status.ADDED:
            self.discard(Action.DELETE)
            return None
        self._lifecycle.apply(Action.DELETE)
        status = await self.wait()
        if self._stdio:
            await self._stdio.drain(_DRAIN_SECONDS, _DRAIN_TRIES)
        self.close()
        return status

    def resize(self, width: int, height: int) -> None:
        """Set the terminal's size in characters, before or after it is opened. No effect without a terminal."""
        self._size = (width, height)
        if self._stdio:
            self._stdio.resize(width, height)

    def close_stdin(self) -> None:
        """Close the daemon's writing end of the process' input."""
        if self._stdio:
            self._stdio.close_stdin()

    def close(self) -> None:
        """Close the streams now; unread bytes are lost."""
        if self._stdio:
            self._stdio.close()

    def _signal(self, signum: int) -> None:
        """Deliver a signal through the backend. If the process has ended, does nothing.

        SIGKILL is sent without the backend, which could suppress it.
        """
        assert self._launched is not None
        with contextlib.suppress(ProcessLookupError):
            if signum == signal.SIGKILL:
                builtin.pelagos_signal(self, signum)
            else:
                self._launched.backend.signal(self, signum)

    async def _reaped(self) -> ExitStatus:
        """Wait for the exit and reap the process.

        The kernel reports the end of the process, the backend its exit status. If the backend fails, returns
        an invalid status, or does not return in _REPORT_SECONDS, the kernel's status is used.
        """
        assert self._launched is not None
        if self._launched.backend.has_wait:
            return await self._reported_by(self._launched.backend)
        await pidfd.readable(self.pidfd)
        return self._reap_and_close() or ExitStatus.unknown()

    async def _reported_by(self, backend: Backend) -> ExitStatus:
        waiting = asyncio.ensure_future(backend.wait(self))
        await pidfd.ended(self.pidfd)
        await asyncio.wait({waiting}, timeout=_REPORT_SECONDS)
        reaped = self._reap_and_close()
        waiting.cancel()
        reported = None if not waiting.done() or waiting.cancelled() else waiting.result()
        return reported or reaped or ExitStatus.unknown()

    def _reap_and_close(self) -> ExitStatus | None:
        """Reap the process, and read its remaining messages."""
        assert self._control is not None
        seen = self._reap()  # before `drain`: a key that is read now has not caused the exit
        self._control.drain()
        self._close_process()
        return seen

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
        """Kill a guest whose deadline has passed."""
        log.info("%s: its deadline of %g s has passed", self.name, seconds)
        self._late = True
        if self._stdio:
            text = f"pelagos: the deadline of {seconds:g} s has passed"
            self._stdio.write_line(with_reason(text, reasons.DEADLINE))
        self._signal(signal.SIGKILL)

    def _count_refusal(self) -> None:
        self._launcher.metrics.count(MEMORY_REFUSALS, self.backend)

    def _finish_streams(self) -> None:
        assert self._stdio is not None
        try:
            self._stdio.finish()
        except OSError as error:  # out of descriptors: the exit is published anyway
            log.error("%s: streams: %s", self.name, error)  # noqa: TRY400 (no trace wanted)
            self._stdio.close()
