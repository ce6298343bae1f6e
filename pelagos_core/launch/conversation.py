"""The launch of one process: the daemon's half of the conversation with its init process.

It begins with a fork and ends with a process that waits for Start, or with an error and no process. It holds the
state that is needed during a launch only: messages and their deadlines, excluded backends, compiled
code, a second stage, an early Kill. In the daemon, on its event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from dataclasses import replace

from pelagos_core import reasons
from pelagos_core.backends import builtin
from pelagos_core.backends.registry import DETECT_SECONDS, NATIVE, Backend, Failure
from pelagos_core.cache.known_module import KnownGuest, KnownKey
from pelagos_core.cache.known_store import KnownModules
from pelagos_core.errors import Cancelled, FailedPrecondition, Internal, PelagosError, from_fields
from pelagos_core.exit_status import ending
from pelagos_core.isolation.state import CODE_DIRECTORY, EMPTY_NETWORK
from pelagos_core.launch import home, runtime_hooks
from pelagos_core.launch.bare_init import BareInit
from pelagos_core.launch.compilation import CompiledCode
from pelagos_core.launch.empty_networks import EmptyNetworks, Loan, leaves_as_it_was
from pelagos_core.launch.forking import Forker
from pelagos_core.launch.guest_steps import NotBareError, OtherEngineError
from pelagos_core.launch.init import LaunchRequest
from pelagos_core.launch.init_process import EndedError, InitProcess
from pelagos_core.launch.launch import NO_NETWORK, Launch, Launched
from pelagos_core.launch.messages import (
    Asking,
    Assembled,
    Contents,
    Created,
    Failed,
    Found,
    Learnt,
    Message,
    Ready,
    SecondStage,
    Stopped,
    Terminal,
    Unusable,
    Wanted,
)
from pelagos_core.linux.descriptor import Fd
from pelagos_core.plugin.entrypoint import sniff, split_func
from pelagos_core.plugin.hookspecs import UnusableCode
from pelagos_core.plugin.limits import Limits
from pelagos_core.reasons import because

log = logging.getLogger(__name__)

# Longer than the timer in the child, which interrupts Python code only: after this time the child is killed.
_LOOK_SECONDS = DETECT_SECONDS + 2.0


class _BackendCrash(Exception):
    """The process has ended inside a backend's hook."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure


class Conversation:
    """One launch. Call `run` once.

    termination_signal: the signal to report for the process' end, see `hookspecs.RunningProcess`.
    """

    def __init__(self, launch: Launch, forker: Forker, known: KnownModules, networks: EmptyNetworks) -> None:
        """forker: forks the processes. known: the records of modules. networks: kept by the daemon."""
        self._launch = launch
        self._forker = forker
        self._known = known
        self._name = launch.name
        self._limits = Limits.of(launch.bundle.spec, launch.bundle.policy)
        confined = launch.bundle.policy.confines_engines
        self._code = CompiledCode(launch.name, launch.cache, self._limits, confined=confined, metrics=launch.metrics)
        # Loading may compile, with the time limit of compiling ahead, minutes; `detect` must be quick.
        self._patience = {"detect": _LOOK_SECONDS, "code_key": _LOOK_SECONDS, "spawn": float(launch.cache.seconds)}
        self._process: InitProcess | None = None
        self._bare: BareInit | None = None
        self._is_bare = False  # whether to fork a process without an interpreter next
        self._nursed_by: Backend | None = None  # the backend whose nursery forks it
        self._unknown: KnownKey | None = None  # the key of a found module without a record
        self._killed = False
        self.termination_signal = 0
        is_alone = launch.find_target is None and leaves_as_it_was(launch.bundle, launch.plan)
        self._network = Loan(networks, wanted=is_alone)

    @property
    def pid(self) -> int:
        """The pid of the current process; 0 before there is one."""
        return self._process.pid if self._process else 0

    @property
    def pidfd(self) -> int:
        """The pidfd of the current process; -1 while there is none."""
        return self._process.pidfd if self._process else -1

    async def run(self) -> Launched:
        """Fork, isolate and load, up to a process that waits for Start.

        If a backend crashes or hangs in `detect`, the launch is repeated in a new process without that
        backend. If a backend does not accept stored code, it is repeated with new code.
        Raises the error that the process has reported, or OSError; no process is left then.
        """
        try:
            return await self._run()
        finally:
            self._network.close()

    async def _run(self) -> Launched:
        excluded: tuple[Failure, ...] = ()
        self._is_bare = BareInit.serves(self._launch.bundle.spec)
        self._nursed_by = self._launch.selection.likely_with_native_part
        while True:
            self._process = process = self._forked(excluded)
            try:
                self._launch.forked(process.pid)
                return self._launched(process, await self._created(process))
            except NotBareError:
                await process.abandon()
                self._is_bare = False
            except OtherEngineError as other:
                await process.abandon()
                self._nursed_by = other.backend
            except _BackendCrash as crash:
                await process.abandon()
                if crash.failure.stage != "detect":
                    raise Internal(f"{self._name}: {crash.failure}", reasons.ENGINE_FAILED) from None
                excluded = (*excluded, crash.failure)
            except UnusableCode as refusal:
                await process.abandon()
                self._code.discard(str(refusal))
            except BaseException:
                await process.abandon()
                raise
            self._check_not_killed()  # a Kill may have ended the process that was given up

    def signal(self, signum: int) -> None:
        """Send a signal to the current process. One that has ended is no error.

        By the built-in hook, since the backend may not be known yet. A signal that ends the process ends the launch.
        """
        self._killed = self._killed or builtin.is_deadly(signum)
        with contextlib.suppress(ProcessLookupError):
            builtin.pelagos_signal(self, signum)

    def _forked(self, excluded: tuple[Failure, ...]) -> InitProcess:
        launch = self._launch
        # Looked up before each fork: the container may have ended meanwhile.
        target = launch.find_target() if launch.find_target else None
        self._bare = None
        if self._is_bare:
            bare = BareInit(launch.bundle, launch.plan, self._limits)
            part = self._nursed_by.native if self._nursed_by else None
            try:
                pid, control = self._forker.fork_bare(part, bare, launch.streams.child, target)
            except NotBareError:
                self._is_bare = False
            except OSError as error:
                log.warning("%s: %s; the daemon forks", self._name, error)
                self._is_bare = False
            else:
                self._bare = bare
                return InitProcess(pid, control, has_second_stage=launch.plan.second_stage is not None)
        selection = replace(launch.selection, excluded=excluded)

        def request(control: socket.socket) -> LaunchRequest:
            return LaunchRequest(
                launch.bundle,
                launch.plan,
                control,
                launch.streams.child,
                selection,
                self._limits,
                target,
                learns=self._unknown is not None,
            )

        pid, control = self._forker.fork(request)
        return InitProcess(pid, control, has_second_stage=launch.plan.second_stage is not None)

    def _launched(self, process: InitProcess, created: Created) -> Launched:
        asked = self._launch.bundle.spec.process.oom_score_adj
        if asked is not None and process.oom_score_adj() not in (asked, None):  # the process runs anyway
            log.warning("%s: process.oomScoreAdj: %d: the shim may not lower it", self._name, asked)
        backend = self._launch.selection.backends.named(created.backend)
        has_limit = self._limits.memory is not None and backend is not NATIVE
        is_bare_guest = self._bare is not None and backend is not NATIVE  # no backend has had its privileges
        return Launched(
            process.pid,
            process.pidfd,
            process.control,
            backend,
            created.reason,
            enclosed=created.enclosed,
            listens=self._launch.bundle.spec.process.terminal or has_limit,
            termination_signal=self.termination_signal,
            network=self._network.pass_on(process.pid) if is_bare_guest else NO_NETWORK,
        )

    async def _created(self, process: InitProcess) -> Created:
        """Handle the init process' messages until it waits for Start."""
        return await (self._ready(process, self._bare) if self._bare else self._prepared(process))

    async def _ready(self, process: InitProcess, bare: BareInit) -> Created:
        """Handle the messages of one without an interpreter. Raises NotBareError and OtherEngineError."""
        asking: Asking | None = None
        found: Found | None = None
        created: Created | None = None
        while True:
            message, file = await self._receive(process, asking)
            with Fd(file):
                if isinstance(message, Found) and found is None:
                    found = message
                    created = await self._go_on(process, bare, message, file)
                    asking = Asking(created.backend, "spawn") if created else None
                elif isinstance(message, Contents) and found and created is None:
                    users = os.pread(file, home.MAX_BYTES, 0)
                    created = self._run_program(process, bare, found, users)
                elif isinstance(message, Ready) and created:
                    return created
                elif isinstance(message, SecondStage):
                    await self._adopt_second_stage(process, message.pid)
                elif isinstance(message, Terminal):
                    self._launch.streams.adopt(os.dup(file))
                else:
                    raise self._error(message)

    async def _prepared(self, process: InitProcess) -> Created:
        """Handle the messages of one with an interpreter."""
        asking: Asking | None = None
        while True:
            message, file = await self._receive(process, asking)
            try:
                if isinstance(message, Created):
                    return message
                if isinstance(message, Asking):
                    asking = message
                elif isinstance(message, Assembled):
                    asking = None  # the time limit of `detect` does not include hooks
                    await self._run_hooks(process)
                elif isinstance(message, SecondStage):
                    await self._adopt_second_stage(process, message.pid)
                elif isinstance(message, Terminal):
                    self._launch.streams.adopt(os.dup(file))
                elif isinstance(message, Learnt):
                    self._keep(message, asking)
                elif isinstance(message, Wanted):
                    await self._give_code(process, message, file, asking)
                else:
                    raise self._error(message)
            finally:
                if file >= 0:
                    os.close(file)

    async def _receive(self, process: InitProcess, asking: Asking | None) -> tuple[Message, int]:
        """The next message, with its descriptor, or -1."""
        limit = self._patience.get(asking.hook) if asking else None
        try:
            message, file = await process.receive(limit)
        except asyncio.TimeoutError:
            assert asking is not None
            raise _BackendCrash(Failure(asking.backend, asking.hook, f"no answer in {limit:g} s")) from None
        if message is None:
            raise self._lost(process, asking)
        return message, file

    async def _run_hooks(self, process: InitProcess) -> None:
        bundle = self._launch.bundle
        await runtime_hooks.run(bundle.spec.hooks.create_runtime, bundle, "creating", process.pid)
        self._let_go_on(process)

    async def _adopt_second_stage(self, process: InitProcess, pid: int) -> None:
        try:
            await process.adopt_second_stage(pid)
        except PelagosError as error:
            raise Internal(f"{self._name}: {error.message}") from None
        self._launch.forked(process.pid)
        self._let_go_on(process)

    def _let_go_on(self, process: InitProcess) -> None:
        self._check_not_killed()
        try:
            process.send_go()
        except OSError:
            raise FailedPrecondition(f"{self._name}: cannot start, its process is gone") from None

    async def _give_code(self, process: InitProcess, wanted: Wanted, module: int, asking: Asking | None) -> None:
        """Send compiled code to the init process; a Kill ends the wait for the code."""
        # Once the engine has read the guest's bytes, the process is not trusted.
        if asking is None or asking.hook != "code_key" or module < 0:
            raise Internal(f"{self._name}: the init process asked for compiled code out of turn", reasons.ENGINE_FAILED)
        backend = self._launch.selection.backends.named(asking.backend)
        code = await self._obtained(process, backend, wanted, module, asking)
        process.send_code(code)
        os.close(code)

    async def _go_on(self, process: InitProcess, bare: BareInit, found: Found, module: int) -> Created | None:
        """Send the next part of the plan; return the Created of the last part, else None."""
        if not found.digest:
            if not (found.mode & 0o111 and sniff(bytes.fromhex(found.head)).is_native):
                raise NotBareError  # PATH may have another candidate, and backends look at other kinds
            if not bare.needs_users:
                return self._run_program(process, bare, found, None)
            process.send_plan(bare.users())
            return None
        guest, path = self._recalled(found), bare.path(found)
        backend = guest.backend
        if backend.native is None or (backend.compiles and guest.settings is None):
            raise NotBareError  # the native part cannot compile
        if backend is not self._nursed_by:
            raise OtherEngineError(backend)
        asking, code = Asking(backend.name, "spawn"), -1
        if guest.settings is not None:
            wanted = Wanted(backend.name, path, found.digest, guest.settings)
            code = await self._obtained(process, backend, wanted, module, asking)
        with Fd(code):
            given = {CODE_DIRECTORY: code, EMPTY_NETWORK: self._network.take()}
            plan = bare.guest(guest, path, compiled=code >= 0, network=given[EMPTY_NETWORK] >= 0)
            process.send_plan(plan, {bare.number(slot): fd for slot, fd in given.items() if fd >= 0})
        return Created(backend.name, guest.reason, enclosed=False)

    def _run_program(self, process: InitProcess, bare: BareInit, found: Found, users: bytes | None) -> Created:
        """Send the last part of a native program's plan. users: content of /etc/passwd, if it is needed."""
        with because(reasons.ENTRYPOINT, self._name):
            head = bytes.fromhex(found.head)
            process.send_plan(bare.program(bare.path(found), head, users))
        return Created(NATIVE.name, sniff(head).value, enclosed=False)

    def _recalled(self, found: Found) -> KnownGuest:
        """The record of the found module. Raises NotBareError if there is none, or it does not suffice."""
        launch = self._launch
        _, func = split_func(launch.bundle.spec.process.args[0])
        key = KnownKey.of(found.digest, func, self._limits, launch.bundle, launch.selection.backends)
        known = self._known.find(launch.cache, key)
        guest = known.guest(launch.selection) if known else None
        if guest is None:
            self._unknown = None if known and known.has_values else key
            raise NotBareError
        return guest

    def _keep(self, learnt: Learnt, asking: Asking | None) -> None:
        """Store the record of a module, once, if a process without backends has reported the same digest.

        Backends have run in the sender, so it must not be able to write the record of another module.
        """
        # Once the engine has read the guest's bytes, the process is not trusted.
        if asking is None or asking.hook == "spawn":
            raise Internal(f"{self._name}: the init process reported a module out of turn", reasons.ENGINE_FAILED)
        unknown, self._unknown = self._unknown, None
        if unknown is not None and learnt.digest == unknown.module:
            self._known.keep(self._launch.cache, unknown, learnt.known)

    async def _obtained(
        self, process: InitProcess, backend: Backend, wanted: Wanted, module: int, asking: Asking
    ) -> int:
        """The directory with compiled code. Raises the error of the process' end if it ends before."""
        try:
            return await self._code.obtain(backend, wanted, module, process)
        except EndedError:
            raise self._lost(process, asking) from None

    def _error(self, message: Message) -> Exception:
        """The error of Create for a message of the init process. Raises NotBareError."""
        if isinstance(message, Stopped) and self._bare is not None:
            error = self._bare.error(message)
            if isinstance(error, PelagosError):
                error.message = f"{self._name}: {error.message}"
            return error
        if isinstance(message, Failed):
            return from_fields(message.code, f"{self._name}: {message.message}", message.reason)
        if isinstance(message, Unusable):
            return UnusableCode(f"backend {message.backend!r} does not accept compiled code: {message.message}")
        text = f"{self._name}: the init process reported a guest that does not run"
        return Internal(text, reasons.ENGINE_FAILED)

    def _lost(self, process: InitProcess, asking: Asking | None) -> Exception:
        """The error of Create for the end of the init process."""
        if self._killed:
            return self._cancelled()
        how = ending(process.how_it_ended())
        if asking:
            return _BackendCrash(Failure(asking.backend, asking.hook, how))
        return Internal(f"{self._name}: its process has ended unexpectedly: {how}", reasons.LOST)

    def _check_not_killed(self) -> None:
        if self._killed:
            raise self._cancelled()

    def _cancelled(self) -> Cancelled:
        return Cancelled(f"{self._name}: killed while it was being created", reasons.KILLED)
