"""The launch of one process: the daemon's half of the conversation with its init process.

It begins with a fork and ends with a process that waits for the go-ahead, or with an error and no process.
Whatever holds only meanwhile is here and ends with it: messages and their deadlines, backends that are left
out, compiled code, a second stage, a Kill that comes too early. In the daemon, on its event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Coroutine
from dataclasses import replace

from pelagos_core import reasons
from pelagos_core.backends import builtin
from pelagos_core.backends.registry import DETECT_SECONDS, NATIVE, Backend, Failure
from pelagos_core.cache.known_module import KnownGuest, KnownKey
from pelagos_core.cache.known_store import KnownModules
from pelagos_core.errors import Cancelled, FailedPrecondition, Internal, PelagosError, from_fields
from pelagos_core.exit_status import ending
from pelagos_core.isolation.state import CODE_DIRECTORY
from pelagos_core.launch import home, runtime_hooks
from pelagos_core.launch.bare_init import BareInit
from pelagos_core.launch.compilation import CompiledCode
from pelagos_core.launch.forking import Forker
from pelagos_core.launch.guest_steps import NotBareError, OtherEngineError
from pelagos_core.launch.init import LaunchRequest
from pelagos_core.launch.init_process import InitProcess
from pelagos_core.launch.launch import Launch, Launched
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

# Beyond the timer in the child, which ends Python code only: then the child is killed.
_LOOK_SECONDS = DETECT_SECONDS + 2.0


class _BackendCrash(Exception):
    """The process was lost inside a backend's hook."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure


class Conversation:
    """One launch. To be run once.

    termination_signal: the signal that has ended the process, as backends tell it.
    """

    def __init__(self, launch: Launch, forker: Forker, known: KnownModules) -> None:
        """forker: makes the processes. known: what backends have said of modules before."""
        self._launch = launch
        self._forker = forker
        self._known = known
        self._name = launch.name
        self._limits = Limits.of(launch.bundle.spec, launch.bundle.policy)
        confined = launch.bundle.policy.confines_engines
        self._code = CompiledCode(launch.name, launch.cache, self._limits, confined=confined)
        # Loading may compile for minutes, with no more time than compiling ahead has; looking must be quick.
        self._patience = {"detect": _LOOK_SECONDS, "code_key": _LOOK_SECONDS, "spawn": float(launch.cache.seconds)}
        self._process: InitProcess | None = None
        self._bare: BareInit | None = None
        self._is_bare = False  # whether the next process has no interpreter
        self._nursed_by: Backend | None = None  # whose nursery forks it
        self._unknown: KnownKey | None = None  # of a module that a process without an interpreter has found
        self._killed = False
        self.termination_signal = 0

    @property
    def pid(self) -> int:
        """The process of the moment; 0 before there is one."""
        return self._process.pid if self._process else 0

    @property
    def pidfd(self) -> int:
        """Its pidfd; -1 while there is none."""
        return self._process.pidfd if self._process else -1

    async def run(self) -> Launched:
        """Fork, isolate and load, up to a process that waits for the go-ahead.

        A backend that crashes or hangs in `detect` is left out, and the rest is tried again in a new
        process; so is one that does not take code that was kept, with new code.
        Raises the error that the process reports, or OSError; no process is left then.
        """
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
            self._check_not_killed()  # a Kill may have met the process that was given up

    def signal(self, signum: int) -> None:
        """Send a signal to the process of the moment. One that is gone is no error.

        The built-in way: a backend may not be known yet. A signal that ends it ends the launch.
        """
        self._killed = self._killed or builtin.is_deadly(signum)
        with contextlib.suppress(ProcessLookupError):
            builtin.pelagos_signal(self, signum)

    def _forked(self, excluded: tuple[Failure, ...]) -> InitProcess:
        launch = self._launch
        # Asked for each time: the container may have ended meanwhile.
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
        self._compare_oom_score(process)
        backend = self._launch.selection.backends.named(created.backend)
        has_limit = self._limits.memory is not None and backend is not NATIVE
        return Launched(
            process.pid,
            process.pidfd,
            process.control,
            backend,
            created.reason,
            enclosed=created.enclosed,
            listens=self._launch.bundle.spec.process.terminal or has_limit,
            termination_signal=self.termination_signal,
        )

    def _compare_oom_score(self, process: InitProcess) -> None:
        """Warn where a machine, such as a container, does not let it be lowered: that keeps no process from running."""
        asked = self._launch.bundle.spec.process.oom_score_adj
        if asked is None:
            return
        with contextlib.suppress(OSError), open(f"/proc/{process.pid}/oom_score_adj", "rb") as file:
            if int(file.read()) != asked:
                log.warning("%s: process.oomScoreAdj: %d: the shim may not lower it", self._name, asked)

    async def _created(self, process: InitProcess) -> Created:
        """Follow the init process' messages up to the one that it waits for the go-ahead."""
        return await (self._ready(process, self._bare) if self._bare else self._prepared(process))

    async def _ready(self, process: InitProcess, bare: BareInit) -> Created:
        """Of one without an interpreter. Raises NotBareError, and OtherEngineError."""
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
        """Of one with an interpreter."""
        asking: Asking | None = None
        while True:
            message, file = await self._receive(process, asking)
            try:
                if isinstance(message, Created):
                    return message
                if isinstance(message, Asking):
                    asking = message
                elif isinstance(message, Assembled):
                    asking = None  # hooks may take their time
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
        """The next message, and the descriptor that came with it, or -1."""
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
        """Answer the init process with compiled code; a Kill ends the wait for it."""
        # Later on the engine has seen the guest's bytes, and the process is not to be believed.
        if asking is None or asking.hook != "code_key" or module < 0:
            raise Internal(f"{self._name}: the init process asked for compiled code out of turn", reasons.ENGINE_FAILED)
        backend = self._launch.selection.backends.named(asking.backend)
        code = await self._unless_ended(process, self._code.obtain(backend, wanted, module), asking)
        process.send_code(code)
        os.close(code)

    async def _go_on(self, process: InitProcess, bare: BareInit, found: Found, module: int) -> Created | None:
        """Send the next part of the plan; what it is created with, if that is the last part."""
        if not found.digest:
            if not (found.mode & 0o111 and sniff(bytes.fromhex(found.head)).is_native):
                raise NotBareError  # another file may stand further on in PATH; of other kinds backends are asked
            if not bare.needs_users:
                return self._run_program(process, bare, found, None)
            process.send_plan(bare.users())
            return None
        guest, path = self._recalled(found), bare.path(found)
        backend = guest.backend
        if backend.native is None or (backend.compiles and guest.settings is None):
            raise NotBareError  # its native part has no compiler
        if backend is not self._nursed_by:
            raise OtherEngineError(backend)
        asking, code = Asking(backend.name, "spawn"), -1
        if guest.settings is not None:
            wanted = Wanted(backend.name, path, found.digest, guest.settings)
            code = await self._unless_ended(process, self._code.obtain(backend, wanted, module), asking)
        with Fd(code):
            plan = bare.guest(guest, path, compiled=code >= 0)
            process.send_plan(plan, {bare.number(CODE_DIRECTORY): code} if code >= 0 else {})
        return Created(backend.name, guest.reason, enclosed=False)

    def _run_program(self, process: InitProcess, bare: BareInit, found: Found, users: bytes | None) -> Created:
        """Send the last part of a native program's plan. users: the container's list of them, if it is needed."""
        with because(reasons.ENTRYPOINT, self._name):
            head = bytes.fromhex(found.head)
            process.send_plan(bare.program(bare.path(found), head, users))
        return Created(NATIVE.name, sniff(head).value, enclosed=False)

    def _recalled(self, found: Found) -> KnownGuest:
        """What is known of a module. Raises NotBareError."""
        launch = self._launch
        _, func = split_func(launch.bundle.spec.process.args[0])
        key = KnownKey.of(found.digest, func, self._limits, launch.bundle, launch.selection.backends)
        known = self._known.find(launch.cache, key)
        guest = known.guest(launch.selection) if known else None
        if guest is None:
            self._unknown = key
            raise NotBareError
        return guest

    def _keep(self, learnt: Learnt, asking: Asking | None) -> None:
        """Keep what backends have said of a module, once, if a process without them has found the same one.

        Their code has run in the sender, so another module's entry is not the sender's to write.
        """
        # Later on the engine has seen the guest's bytes, and the process is not to be believed.
        if asking is None or asking.hook == "spawn":
            raise Internal(f"{self._name}: the init process told of a module out of turn", reasons.ENGINE_FAILED)
        unknown, self._unknown = self._unknown, None
        if unknown is not None and learnt.digest == unknown.module:
            self._known.keep(self._launch.cache, unknown, learnt.known)

    async def _unless_ended(self, process: InitProcess, work: Coroutine[None, None, int], asking: Asking) -> int:
        """What `work` returns; if the init process ends before, it is cancelled, and that is told."""
        working, ended = asyncio.ensure_future(work), asyncio.ensure_future(process.ended())
        try:
            await asyncio.wait({working, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (working, ended):
                task.cancel()  # nothing happens to one that is done
            await asyncio.wait({working, ended})
        if working.cancelled():
            raise self._lost(process, asking)
        return working.result()

    def _error(self, message: Message) -> Exception:
        """Why it is not created, by what the init process has sent. Raises NotBareError."""
        if isinstance(message, Stopped) and self._bare is not None:
            error = self._bare.error(message)
            if isinstance(error, PelagosError):
                error.message = f"{self._name}: {error.message}"
            return error
        if isinstance(message, Failed):
            return from_fields(message.code, f"{self._name}: {message.message}", message.reason)
        if isinstance(message, Unusable):
            return UnusableCode(f"backend {message.backend!r} does not take compiled code: {message.message}")
        text = f"{self._name}: the init process told of a guest that does not run"
        return Internal(text, reasons.ENGINE_FAILED)

    def _lost(self, process: InitProcess, asking: Asking | None) -> Exception:
        """Why it is not created, by how the init process has ended."""
        if self._killed:
            return self._cancelled()
        how = ending(process.how_it_ended())
        if asking:
            return _BackendCrash(Failure(asking.backend, asking.hook, how))
        return Internal(f"{self._name}: its process was lost: {how}", reasons.LOST)

    def _check_not_killed(self) -> None:
        if self._killed:
            raise self._cancelled()

    def _cancelled(self) -> Cancelled:
        return Cancelled(f"{self._name}: killed while it was being created", reasons.KILLED)
