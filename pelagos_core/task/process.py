"""A process of a container as the daemon has it: forked, told to start, signalled, reaped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from dataclasses import replace

from pelagos_core import reasons
from pelagos_core.backends import builtin
from pelagos_core.backends.registry import DETECT_SECONDS, NATIVE, Backend, Failure
from pelagos_core.backends.selection import Selection
from pelagos_core.config.node_file import CacheSettings
from pelagos_core.errors import Cancelled, FailedPrecondition, Internal, from_fields
from pelagos_core.exit_status import ExitStatus, ending
from pelagos_core.isolation.plan import Plan
from pelagos_core.launch import init, messages, terminal
from pelagos_core.launch.init import JoinTarget, LaunchRequest
from pelagos_core.launch.messages import (
    Asking,
    Assembled,
    Created,
    Failed,
    Message,
    Refused,
    SecondStage,
    Terminal,
    Unusable,
    Wanted,
)
from pelagos_core.launch.nursery import Nursery
from pelagos_core.linux.namespaces import fork, fork_beside
from pelagos_core.linux.pidfd import readable
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.limits import Limits
from pelagos_core.task import runtime_hooks
from pelagos_core.task.compilation import CompiledCode
from pelagos_core.task.control import Refusals, paired
from pelagos_core.task.streams.stdio import Stdio

# Beyond the timer in the child, which ends Python code only: then the child is killed.
_LOOK_SECONDS = DETECT_SECONDS + 2.0
_LAST_WORDS = 16  # datagrams
_TELL_SECONDS = 2.0  # for a backend to tell how its process ended, once it has


class BackendCrash(Exception):
    """The process was lost inside a backend's hook."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure


class _UnusableCode(Exception):
    """The backend does not take the code that it was given."""


class Process:
    """One process, from the fork to its reaping.

    enclosed: whether the container's root is below an engine root, in its mount namespace.
    """

    def __init__(
        self, name: str, bundle: Bundle, selection: Selection, cache: CacheSettings, nursery: Nursery | None
    ) -> None:
        """name: what errors call it. bundle: with the process' own part in `spec.process`.

        cache: of compiled code. nursery: forks for us, where it can.
        """
        self._bundle = bundle
        self._nursery = nursery
        self._selection = selection
        self._code = CompiledCode(name, bundle, cache)
        # Loading may compile for minutes, with no more time than compiling ahead has; looking must be quick.
        self._patience = {"detect": _LOOK_SECONDS, "code_key": _LOOK_SECONDS, "spawn": float(cache.seconds)}
        self._refusals = Refusals(name)
        self._limits = Limits.of(bundle.spec, bundle.policy)
        self._name = name
        self._control: socket.socket | None = None
        self._killed = False
        self._is_first = False
        self.pid = 0
        self.pidfd = -1
        self.termination_signal = 0
        self.backend: Backend | None = None
        self.enclosed = False
        self.reason = ""

    @property
    def join_target(self) -> JoinTarget:
        """The way into the container of this process. Raises FailedPrecondition once it has ended."""
        if self.pidfd < 0:
            raise FailedPrecondition(f"{self._name}: its process is gone")
        return JoinTarget(self.pidfd, self.enclosed)

    async def create(
        self, plan: Plan, stdio: Stdio, forked: Callable[[int], None], find_door: Callable[[], JoinTarget] | None = None
    ) -> None:
        """Fork, isolate, load; return once the workload waits for `start`.

        A backend that crashes or hangs in `detect` is left out, and the rest is tried
        again in a new process; so is one that does not take code that was kept, with new
        code. `forked` is called with each new pid.
        find_door: tells the door of the container to join; None to make one.
        Raises the error that the process reports; none is left then.
        """
        excluded: tuple[Failure, ...] = ()
        while True:
            # Asked for each time: the container may have ended meanwhile.
            self._fork(plan, stdio, excluded, find_door() if find_door else None)
            try:
                forked(self.pid)
                await self._created(forked, stdio)
            except BackendCrash as crash:
                await self.abandon()
                if crash.failure.stage != "detect":
                    raise Internal(f"{self._name}: {crash.failure}", reasons.ENGINE_FAILED) from None
                if self._killed:
                    raise Cancelled(f"{self._name}: killed while it was being created", reasons.KILLED) from None
                excluded = (*excluded, crash.failure)
            except _UnusableCode as refusal:
                await self.abandon()
                self._code.discard(str(refusal))
            except BaseException:
                await self.abandon()
                raise
            else:
                return

    def start(self) -> None:
        """Let the workload run. Raises FailedPrecondition if the process is gone."""
        assert self._control is not None
        self._go()
        if self._bundle.spec.process.terminal or (self._limits.memory is not None and self.backend is not NATIVE):
            asyncio.get_running_loop().add_reader(self._control, self._heard, self._control)
        else:
            self._close_control()

    def signal(self, signum: int) -> None:
        """Deliver a signal by way of the backend. A process that is gone is no error.

        SIGKILL goes straight to the process: no backend can keep a container alive.
        """
        try:
            if self.backend is not None and signum != signal.SIGKILL:
                self.backend.signal(self, signum)
            else:
                self._killed = self._killed or (self.backend is None and builtin.is_deadly(signum))
                builtin.pelagos_signal(self, signum)
        except ProcessLookupError:
            pass

    async def wait(self) -> ExitStatus:
        """Wait for the end and reap. To be called once, after `create`.

        The backend tells how it ended; that it ended is the kernel's to say, so a backend
        that fails, tells nonsense or never answers costs no more than its own answer.
        """
        assert self.backend is not None
        told = asyncio.ensure_future(self.backend.wait(self))
        await self._ended()
        await asyncio.wait({told}, timeout=_TELL_SECONDS)
        seen = self._reap()  # first: a key that was pressed too late has not ended it
        for _ in range(_LAST_WORDS):  # what it told in its last moment; a fork of its engine might never stop
            if self._control is None or not self._heard(self._control):
                break
        told.cancel()
        answer = None if not told.done() or told.cancelled() else told.result()
        self._reaped()
        return answer or seen or ExitStatus.unknown()

    def _fork(self, plan: Plan, stdio: Stdio, excluded: tuple[Failure, ...], join_target: JoinTarget | None) -> None:
        selection = replace(self._selection, excluded=excluded)

        def order(control: socket.socket) -> LaunchRequest:
            return LaunchRequest(self._bundle, plan, control, stdio.child, selection, self._limits, join_target)

        pid = 0
        nursery = self._nursery
        if nursery and self._is_for_the_nursery(plan, join_target):
            pid, control = paired(lambda theirs: nursery.fork(order(theirs)))
        if not pid:
            pid, control = paired(lambda theirs: self._fork_ourselves(order(theirs)))
        self._is_first = plan.birth is not None
        try:
            # Nobody else reaps, so the pid is still our child's.
            self.pid, self.pidfd, self._control = pid, os.pidfd_open(pid), control
        except OSError:  # no descriptor is left
            control.close()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise

    def _is_for_the_nursery(self, plan: Plan, join_target: JoinTarget | None) -> bool:
        """Whether the process is the first of a new pid namespace, and stays it."""
        namespace = self._bundle.spec.namespace("pid")
        return join_target is None and plan.birth is None and namespace is not None and not namespace.path

    def _fork_ourselves(self, order: LaunchRequest) -> int:
        namespace = self._bundle.spec.namespace("pid")
        if order.join_target:
            pid = self._fork_beside(order.join_target)
        else:
            # One that is to be born again enters a pid namespace then.
            pid = fork(namespace.path if namespace and order.plan.birth is None else None)
        if pid == 0:
            init.run(order)
        return pid

    def _fork_beside(self, join_target: JoinTarget) -> int:
        try:
            return fork_beside(join_target.pidfd)
        except OSError as error:  # ESRCH, or ENOMEM for a pid namespace without its first process
            text = f"{self._name}: cannot enter the container: {error.strerror}"
            raise FailedPrecondition(text, reasons.ISOLATION) from None

    async def _created(self, forked: Callable[[int], None], stdio: Stdio) -> None:
        """Follow the init process' reports up to `Created`."""
        asking: Asking | None = None
        while self.backend is None:
            message, file = await self._receive(asking)
            try:
                if isinstance(message, Asking):
                    asking = message
                elif isinstance(message, Assembled):
                    asking = None  # hooks may take their time
                    await self._run_hooks()
                elif isinstance(message, SecondStage):
                    await self._adopt_second_stage(message.pid)
                    forked(self.pid)
                    self._go()
                elif isinstance(message, Terminal):
                    stdio.adopt(os.dup(file))
                elif isinstance(message, Wanted):
                    await self._give_code(message, file, asking)
                else:
                    self._conclude(message)
            finally:
                if file >= 0:
                    os.close(file)

    async def _run_hooks(self) -> None:
        await runtime_hooks.run(self._bundle.spec.hooks.create_runtime, self._bundle, "creating", self.pid)
        if self._killed:
            raise Cancelled(f"{self._name}: killed while it was being created", reasons.KILLED)
        self._go()

    def _conclude(self, message: Unusable | Created | Failed | Refused) -> None:
        """It is created; or raises why it is not."""
        if isinstance(message, Refused):
            raise Internal(f"{self._name}: the init process told of a guest that does not run", reasons.ENGINE_FAILED)
        if isinstance(message, Failed):
            raise from_fields(message.code, f"{self._name}: {message.message}", message.reason)
        if isinstance(message, Unusable):
            raise _UnusableCode(f"backend {message.backend!r} does not take compiled code: {message.message}")
        self.backend = self._selection.backends.named(message.backend)
        self.reason, self.enclosed = message.reason, message.enclosed

    async def _give_code(self, wanted: Wanted, module: int, asking: Asking | None) -> None:
        """Answer the init process with compiled code; a Kill ends the wait for it."""
        assert self._control is not None
        # Later on the engine has seen the guest's bytes, and the process is not to be believed.
        if asking is None or asking.hook != "code_key" or module < 0:
            raise Internal(f"{self._name}: the init process asked for compiled code out of turn", reasons.ENGINE_FAILED)
        backend = self._selection.backends.named(asking.backend)
        code = await self._unless_ended(self._code.obtain(backend, wanted, module), asking)
        with contextlib.suppress(OSError):  # it is gone: the next thing we read of it says so
            socket.send_fds(self._control, [messages.CODE], [code])
        os.close(code)

    async def _unless_ended(self, work: Coroutine[None, None, int], asking: Asking) -> int:
        """What `work` returns; if the init process ends before, it is cancelled, and that is told."""
        working, ended = asyncio.ensure_future(work), asyncio.ensure_future(self._ended())
        try:
            await asyncio.wait({working, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (working, ended):
                task.cancel()  # nothing happens to one that is done
            await asyncio.wait({working, ended})
        if working.cancelled():
            raise self._lost(asking)
        return working.result()

    async def _adopt_second_stage(self, pid: int) -> None:
        """Put a second process in the place of the first, which has told of it and leaves.

        Raises Internal if that is no child of ours, Cancelled if the first one was killed.
        """
        if not self._is_first:
            raise Internal(f"{self._name}: its process was born twice")
        pidfd = os.pidfd_open(pid)
        try:
            os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            os.close(pidfd)
            raise Internal(f"{self._name}: process {pid} is no child of the shim") from None
        await self._ended()
        self._reap()
        os.close(self.pidfd)
        self.pid, self.pidfd, self._is_first = pid, pidfd, False
        if self._killed:
            raise Cancelled(f"{self._name}: killed while it was being created", reasons.KILLED)

    def _go(self) -> None:
        assert self._control is not None
        try:
            self._control.send(messages.GO)
        except OSError:
            raise FailedPrecondition(f"{self._name}: cannot start, its process is gone") from None

    async def _receive(self, asking: Asking | None) -> tuple[Message, int]:
        """The next message, and the descriptor that came with it, or -1."""
        assert self._control is not None
        limit = self._patience.get(asking.hook) if asking else None
        try:
            await asyncio.wait_for(readable(self._control.fileno()), limit)
            datagram, fds, _, _ = socket.recv_fds(self._control, messages.MAX_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
        except ConnectionError:
            datagram, fds = b"", []
        except asyncio.TimeoutError:
            assert asking is not None
            raise BackendCrash(Failure(asking.backend, asking.hook, f"no answer in {limit:g} s")) from None
        if datagram:
            return messages.decode(datagram), fds[0] if fds else -1
        await readable(self.pidfd)
        raise self._lost(asking)

    def _lost(self, asking: Asking | None) -> Exception:
        if self._killed:
            return Cancelled(f"{self._name}: killed while it was being created", reasons.KILLED)
        result = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOWAIT)
        assert result is not None
        if asking:
            return BackendCrash(Failure(asking.backend, asking.hook, ending(result)))
        return Internal(f"{self._name}: its process was lost: {ending(result)}", reasons.LOST)

    def _heard(self, control: socket.socket) -> bool:
        """Deliver the signals of its terminal, which a guest's process tells by their numbers.

        What else it may tell is that the guest was refused memory. Returns whether it has told anything.
        """
        try:
            told = control.recv(messages.MAX_BYTES)
        except BlockingIOError:
            return False
        except ConnectionError:
            told = b""
        if not told:
            self._close_control()
        elif len(told) > 1:
            self._refusals.hear(told)
        elif told[0] in terminal.SIGNALS and self.pidfd >= 0:
            self.signal(told[0])
        return bool(told)

    async def _ended(self) -> None:
        """Return once the process has ended."""
        pidfd = os.dup(self.pidfd)  # an event loop has one callback for each descriptor
        try:
            await readable(pidfd)
        finally:
            os.close(pidfd)

    def _reap(self) -> ExitStatus | None:
        try:
            return builtin.reap(self)
        except ChildProcessError:
            return None  # the backend, or the built-in wait, has reaped it

    async def abandon(self) -> None:
        """End and reap a process that is not to run."""
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        if self._is_first:
            # A second process that we were not told of is in the same process group.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        await self._ended()
        self._reap()
        with contextlib.suppress(ChildProcessError):
            while self._is_first:
                os.waitid(os.P_PGID, self.pid, os.WEXITED)
        self._reaped()

    def _reaped(self) -> None:
        self._close_control()
        os.close(self.pidfd)
        self.pidfd = -1

    def _close_control(self) -> None:
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control)
            self._control.close()
            self._control = None
