"""The launch of one process: the daemon's half of the conversation with its init process.

It begins with a fork and ends with a process that waits for Start, or with an error and no process. It holds
state that only a launch needs: messages and their deadlines, excluded backends, compiled code, a second
stage, an early Kill. In the daemon, on its event loop.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from dataclasses import replace

from pelagos_core import reasons
from pelagos_core.backends import builtin
from pelagos_core.backends.registry import NATIVE, Backend, Failure
from pelagos_core.cache.known_store import KnownModules
from pelagos_core.errors import Internal
from pelagos_core.isolation.state import CODE_DIRECTORY, EMPTY_NETWORK, ENTRYPOINT
from pelagos_core.launch import home
from pelagos_core.launch.bare_init import BareInit
from pelagos_core.launch.compilation import CompiledCode
from pelagos_core.launch.container_image import Artifact, ContainerImage
from pelagos_core.launch.empty_networks import EmptyNetworks, Loan, leaves_unchanged
from pelagos_core.launch.exchange import BackendCrashError, Exchange
from pelagos_core.launch.forking import Forker
from pelagos_core.launch.guest_steps import MissingError, NotBareError, OtherEngineError
from pelagos_core.launch.init import JoinTarget, LaunchRequest
from pelagos_core.launch.init_process import EndedError, InitProcess
from pelagos_core.launch.launch import NO_NETWORK, Launch, Launched
from pelagos_core.launch.messages import (
    Asking,
    Assembled,
    Contents,
    Created,
    Found,
    Learnt,
    Ready,
    SecondStage,
    Terminal,
    Wanted,
)
from pelagos_core.launch.recall import Recall
from pelagos_core.linux.descriptor import Fd
from pelagos_core.plugin.entrypoint import sniff
from pelagos_core.plugin.hookspecs import UnusableCode
from pelagos_core.plugin.limits import Limits
from pelagos_core.reasons import because

log = logging.getLogger(__name__)


class Conversation(Exchange):
    """One launch. Call `run` once.

    termination_signal: the signal to report for the process' end, see `hookspecs.RunningProcess`.
    """

    def __init__(
        self, launch: Launch, forker: Forker, known: KnownModules, networks: EmptyNetworks, address: str = ""
    ) -> None:
        """forker: forks the processes. known: the records of modules. networks: the daemon's empty namespaces.

        address: of containerd's API, to read the container's image; empty if there is none.
        """
        super().__init__(launch)
        self._forker = forker
        self._limits = Limits.of(launch.bundle.spec, launch.bundle.policy)
        self._recall = Recall(launch, self._limits, known)
        self._image = ContainerImage(launch, address)
        policy = launch.bundle.policy
        self._code = CompiledCode(launch.name, launch.cache, self._limits, policy=policy, metrics=launch.metrics)
        self._process: InitProcess | None = None
        self._is_bare = False  # whether to fork a process without an interpreter next
        self._nursery_backend: Backend | None = None  # the backend whose nursery forks that process
        self.termination_signal = 0
        self.serves = False
        is_alone = launch.find_target is None and leaves_unchanged(launch.bundle, launch.plan)
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
            self._image.close()

    async def _run(self) -> Launched:
        excluded: tuple[Failure, ...] = ()
        self._is_bare = BareInit.suffices_for(self._launch.bundle.spec)
        self._nursery_backend = self._launch.selection.likely_with_native_part
        while True:
            if not self._is_bare:
                await self._image.obtain()
            self._check_not_killed()  # a Kill may have cancelled the read of the image, or killed a former process
            self._process = process = self._forked(excluded)
            try:
                self._launch.forked(process.pid)
                return self._launched(process, await self._created(process))
            except NotBareError:
                await process.abandon()
                self._is_bare = False
            except MissingError as missing:
                await process.abandon()
                await self._look_into_image(missing)
            except OtherEngineError as other:
                await process.abandon()
                self._nursery_backend = other.backend
            except BackendCrashError as crash:
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

    def signal(self, signum: int) -> None:
        """Send a signal to the current process, if it has not ended. A deadly signal also ends the launch.

        The built-in hook sends it, since the backend may not be known yet.
        """
        self._killed = self._killed or builtin.is_deadly(signum)
        if self._killed:
            self._image.cancel()
        if self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                builtin.pelagos_signal(self, signum)

    async def _look_into_image(self, missing: MissingError) -> None:
        """Use a module of the container's image as the entry point, if it has one. Raises the error of Create."""
        await self._image.look(self._target())
        self._check_not_killed()
        if self._image.artifact is None:
            if missing.error:
                raise missing.error
            self._is_bare = False

    def _target(self) -> JoinTarget | None:
        """The container to join, or None. Looked up before each use, since it may have ended meanwhile.

        Raises FailedPrecondition if it has ended.
        """
        return self._launch.find_target() if self._launch.find_target else None

    def _forked(self, excluded: tuple[Failure, ...]) -> InitProcess:
        launch = self._launch
        target, artifact = self._target(), self._image.artifact
        module = artifact.file if artifact else -1
        self._bare = None
        if self._is_bare:
            bare = BareInit(launch.bundle, launch.plan, self._limits, finds=artifact is None)
            part = self._nursery_backend.native if self._nursery_backend else None
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
                launch.plan.with_entrypoint() if module >= 0 else launch.plan,
                control,
                launch.streams.child,
                selection,
                self._limits,
                target,
                learns=self._recall.is_missed,
                module=module,
            )

        pid, control = self._forker.fork(request)
        return InitProcess(pid, control, has_second_stage=launch.plan.second_stage is not None)

    def _launched(self, process: InitProcess, created: Created) -> Launched:
        asked = self._launch.bundle.spec.process.oom_score_adj
        if asked is not None and process.oom_score_adj() not in (asked, None):  # the process runs anyway
            log.warning("%s: process.oomScoreAdj: %d: the shim may not lower it", self._name, asked)
        backend = self._launch.selection.backends.named(created.backend)
        has_limit = self._limits.memory is not None and backend is not NATIVE
        is_bare_guest = self._bare is not None and backend is not NATIVE  # no backend's Python code has run in it
        return Launched(
            process.pid,
            process.pidfd,
            process.control,
            backend,
            created.reason,
            enclosed=created.enclosed,
            listens=self._launch.bundle.spec.process.terminal or has_limit or created.serves,
            serves=created.serves,
            termination_signal=self.termination_signal,
            image=self._image.target,
            network=self._network.hand_over(process.pid) if is_bare_guest else NO_NETWORK,
        )

    async def _created(self, process: InitProcess) -> Created:
        """Handle the init process' messages until it waits for Start."""
        return await (self._ready(process, self._bare) if self._bare else self._prepared(process))

    async def _ready(self, process: InitProcess, bare: BareInit) -> Created:
        """Handle the messages of a process without an interpreter. Raises NotBareError and OtherEngineError."""
        asking: Asking | None = None
        found: Found | None = None
        created: Created | None = None
        artifact, is_split = self._image.artifact, self._launch.plan.second_stage is not None
        while True:
            if artifact and created is None and not is_split:
                created = await self._load(process, bare, artifact.digest, artifact.path, artifact)
                asking = Asking(created.backend, "spawn")
            message, file = await self._receive(process, asking)
            with Fd(file):
                if isinstance(message, Found) and found is None:
                    found = message
                    created = await self._send_next_part(process, bare, message, file)
                    asking = Asking(created.backend, "spawn") if created else None
                elif isinstance(message, Contents) and found and created is None:
                    users = os.pread(file, home.MAX_BYTES, 0)
                    created = self._run_program(process, bare, found, users)
                elif isinstance(message, Ready) and created:
                    return created
                elif isinstance(message, SecondStage):
                    await self._adopt_second_stage(process, message.pid)
                    is_split = False
                elif isinstance(message, Terminal):
                    self._launch.streams.adopt(os.dup(file))
                else:
                    raise self._error(message)

    async def _prepared(self, process: InitProcess) -> Created:
        """Handle the messages of a process with an interpreter."""
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
                    await self._send_code(process, message, file, asking)
                else:
                    raise self._error(message, asking)
            finally:
                if file >= 0:
                    os.close(file)

    async def _send_code(self, process: InitProcess, wanted: Wanted, module: int, asking: Asking | None) -> None:
        """Send compiled code to the init process; a Kill ends the wait for the code."""
        # The process is not trusted after the engine has read the guest's bytes.
        if asking is None or asking.hook != "code_key" or module < 0:
            raise Internal(
                f"{self._name}: the init process requested compiled code at the wrong time", reasons.ENGINE_FAILED
            )
        backend = self._launch.selection.backends.named(asking.backend)
        code = await self._obtain_code(process, backend, wanted, module, asking)
        process.send_code(code)
        os.close(code)

    async def _send_next_part(self, process: InitProcess, bare: BareInit, found: Found, module: int) -> Created | None:
        """Send the next part of the plan; return the Created of the last part, else None."""
        if not found.digest:
            if not (found.mode & 0o111 and sniff(bytes.fromhex(found.head)).is_native):
                raise NotBareError  # PATH may have another candidate; backends inspect files of other kinds
            if not bare.needs_users:
                return self._run_program(process, bare, found, None)
            process.send_plan(bare.users())
            return None
        return await self._load(process, bare, found.digest, bare.path(found), module)

    async def _load(
        self, process: InitProcess, bare: BareInit, digest: str, path: str, module: int | Artifact
    ) -> Created:
        """Send the last part of a guest's plan. module: the file that the process has opened, or an artifact.

        Raises NotBareError if the native part cannot run the module, OtherEngineError for another engine's module.
        """
        guest = self._recall.guest(digest)
        backend = guest.backend
        if backend.native is None or (backend.compiles and guest.settings is None):
            raise NotBareError  # the native part cannot compile
        if backend is not self._nursery_backend:
            raise OtherEngineError(backend)
        asking, code = Asking(backend.name, "spawn"), -1
        if guest.settings is not None:
            wanted = Wanted(backend.name, path, digest, guest.settings)
            code = await self._obtain_code(process, backend, wanted, module, asking)
        file = await self._read_artifact(process, module, asking) if isinstance(module, Artifact) and code < 0 else -1
        with Fd(code):
            given = {CODE_DIRECTORY: code, EMPTY_NETWORK: self._network.take(), ENTRYPOINT: file}
            opened = file >= 0 or not isinstance(module, Artifact)
            has_network = given[EMPTY_NETWORK] >= 0
            plan = bare.guest(guest, path, compiled=code >= 0, network=has_network, opened=opened)
            process.send_plan(plan, {bare.number(slot): fd for slot, fd in given.items() if fd >= 0})
        return Created(backend.name, guest.reason, enclosed=False)

    def _run_program(self, process: InitProcess, bare: BareInit, found: Found, users: bytes | None) -> Created:
        """Send the last part of a native program's plan. users: content of /etc/passwd, or None if not needed."""
        with because(reasons.ENTRYPOINT, self._name):
            head = bytes.fromhex(found.head)
            process.send_plan(bare.program(bare.path(found), head, users))
        return Created(NATIVE.name, sniff(head).value, enclosed=False)

    def _keep(self, learnt: Learnt, asking: Asking | None) -> None:
        """Store the record of a module."""
        # The process is not trusted after the engine has read the guest's bytes.
        if asking is None or asking.hook == "spawn":
            raise Internal(f"{self._name}: the init process reported a module at the wrong time", reasons.ENGINE_FAILED)
        self._recall.keep(learnt)

    async def _obtain_code(
        self, process: InitProcess, backend: Backend, wanted: Wanted, module: int | Artifact, asking: Asking
    ) -> int:
        """Return a descriptor of the directory with compiled code. If the process ends first, raises `_lost`."""
        if isinstance(module, Artifact):
            found = self._code.find(backend, wanted)
            if found is not None:
                return found
            module = await self._read_artifact(process, module, asking)
        try:
            return await self._code.obtain(backend, wanted, module, process)
        except EndedError:
            raise self._lost(process, asking) from None

    async def _read_artifact(self, process: InitProcess, artifact: Artifact, asking: Asking) -> int:
        """Return a descriptor of an artifact's bytes. Raises as `_obtain_code`."""
        try:
            return await process.unless_ended(artifact.obtain())
        except EndedError:
            raise self._lost(process, asking) from None
