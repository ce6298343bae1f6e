"""Compiled code for a launch: from the store, or from a compile service that the daemon forks.

The daemon reads no byte of a module or of its code; it only passes descriptors.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Coroutine

from pelagos_core import reasons
from pelagos_core.backends.registry import Backend
from pelagos_core.cache import compile_service
from pelagos_core.cache.compile_request import CompileRequest
from pelagos_core.cache.compile_service import FOUND, CompileService
from pelagos_core.cache.kept_mounts import KeptMounts
from pelagos_core.cache.store import Store
from pelagos_core.cgroups.group import Cgroup
from pelagos_core.config.node_file import CacheSettings
from pelagos_core.config.policy import Policy
from pelagos_core.errors import Internal, PelagosError, from_fields
from pelagos_core.launch.init_process import InitProcess
from pelagos_core.launch.messages import Wanted
from pelagos_core.linux.pidfd import readable
from pelagos_core.metrics.families import CACHE_HITS, CACHE_MISSES, COMPILE_FAILURES, COMPILE_SECONDS
from pelagos_core.metrics.recorder import NOT_COUNTED, Recorder, now
from pelagos_core.plugin.limits import Limits
from pelagos_core.tracing.spans import spanned

log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.05
_REMOVAL_TRIES = 600
_tasks: set[asyncio.Task[None]] = set()
_mounts = KeptMounts()


class CompiledCode:
    """The compiled code for one process of a container."""

    def __init__(
        self,
        name: str,
        cache: CacheSettings,
        limits: Limits,
        *,
        policy: Policy,
        metrics: Recorder = NOT_COUNTED,
    ) -> None:
        """name: of the process, for errors. limits: the limits that the engine must enforce.

        policy: of the container: whether the compiler runs under its system call filter, and whether the guest has a
        network. metrics: counts hits, misses and times.
        """
        self._name = name
        self._limits = limits
        self._cache = cache
        self._confined, self._network = policy.confines_engines, policy.network
        self._metrics = metrics
        self._entry = ""
        self._discarded = False

    def find(self, backend: Backend, wanted: Wanted) -> int | None:
        """As `obtain`, but only from the store; None if the code is not there. Needs no bytes of the module."""
        self._entry = self._request(backend, wanted, -1).key(wanted.digest).name
        found = self._stored()
        if found is not None:
            self._metrics.count(CACHE_HITS, backend.name)
        return found

    async def obtain(self, backend: Backend, wanted: Wanted, module: int, process: InitProcess) -> int:
        """Return a descriptor of the code's directory for a process; the caller closes it. May take minutes.

        On a cancellation, or when the process ends, the compile service is killed before this returns. Raises
        EndedError, PelagosError or OSError.
        """
        request = self._request(backend, wanted, module)
        self._entry = request.key(wanted.digest).name
        try:
            found = self._stored()
            if found is None:
                found = await process.unless_ended(self._compile(request))
                if self._confined:
                    _mounts.keep(self._cache.directory, self._entry, found)
            else:
                self._metrics.count(CACHE_HITS, backend.name)
            return found
        except PelagosError as error:
            raise from_fields(error.code, f"{self._name}: {error.message}", error.reason or reasons.MODULE) from None

    def _request(self, backend: Backend, wanted: Wanted, module: int) -> CompileRequest:
        settings = self._limits, self._cache, self._confined, self._network
        return CompileRequest(backend, wanted.path, wanted.settings, module, *settings)

    def discard(self, refusal: str) -> None:
        """Discard the code, which the backend does not accept. Possible once.

        Raises Internal with `refusal` if it was called before, or no code was obtained.
        """
        if not self._entry or self._discarded:
            raise Internal(f"{self._name}: {refusal}", reasons.ENGINE_FAILED)
        log.warning("%s: %s; it is compiled again", self._name, refusal)
        self._discarded = True
        with contextlib.suppress(OSError, PelagosError), Store(self._cache.directory) as store:
            store.remove(self._entry)

    async def _compile(self, request: CompileRequest) -> int:
        """Run a compile service, and count the result."""
        engine, began = request.backend.name, now()
        try:
            code, is_new = await spanned("compile", _compile(request), pelagos__backend=engine)
        except (PelagosError, OSError):
            self._metrics.count(CACHE_MISSES, engine)
            self._metrics.count(COMPILE_FAILURES, engine)
            raise
        self._metrics.count(CACHE_MISSES if is_new else CACHE_HITS, engine)
        if is_new:
            self._metrics.observe(COMPILE_SECONDS, engine, began)
        return code

    def _stored(self) -> int | None:
        try:
            if self._confined:
                return _mounts.find(self._cache.directory, self._entry)
            # Without the system call filter of engines a privileged process could change the shared mount.
            with Store(self._cache.directory) as store:
                return store.find(self._entry)
        except (OSError, PelagosError):
            return None  # the compile service gets the same error and reports it


async def _compile(request: CompileRequest) -> tuple[int, bool]:
    """Fork a compile service. Returns a descriptor of the code's directory, and whether it was compiled now.

    It was not if another pod's service has stored the same code meanwhile.
    """
    log.info("%s: compiling for backend %r", request.path, request.backend.name)
    cgroup = compile_service.make_group(request.cache)
    made = compile_service.fork(request, cgroup)
    code = -1
    try:
        await readable(made.socket.fileno())
        code, how = made.answer()
    finally:
        try:
            # Shielded: if this is cancelled, the compile service is still reaped in the background.
            await asyncio.shield(_background(_end(made, cgroup)))
        except BaseException:
            if code >= 0:
                os.close(code)
            raise
    log.info("%s: code for backend %r: %s", request.path, request.backend.name, how)
    return code, how != FOUND


def _background(work: Coroutine[None, None, None]) -> asyncio.Task[None]:
    task = asyncio.ensure_future(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


async def _end(made: CompileService, cgroup: Cgroup) -> None:
    """Kill and reap a compile service and its children. In the background: a large compiler exits slowly."""
    made.child.signal(signal.SIGKILL)
    try:
        await made.child.ended()
    finally:
        made.close()
        if not cgroup.try_remove():
            _background(_remove(cgroup))


async def _remove(cgroup: Cgroup) -> None:
    for _ in range(_REMOVAL_TRIES):
        await asyncio.sleep(_RETRY_SECONDS)
        if cgroup.try_remove():
            return
    log.error("cgroup %s is still busy", cgroup.paths[0])
