"""The installed backends: discovery, loading, calls. The only caller of pluggy.

A backend is third-party code. A failure (at import, an exception, a hang, an invalid
return value) is recorded under its name, and the other backends stay usable.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import pluggy

from pelagos_core import __version__, reasons
from pelagos_core.backends import builtin, identity, native, native_part
from pelagos_core.backends.time_limit import TooSlow, in_steps, time_limit
from pelagos_core.config.node_file import Config
from pelagos_core.errors import Internal, InvalidArgument, NotFound, PelagosError, ResourceExhausted
from pelagos_core.exit_status import ExitStatus
from pelagos_core.plugin import hookspecs
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.entrypoint import Entrypoint
from pelagos_core.plugin.hookspecs import (
    CONTRACT,
    Description,
    Detection,
    NativePart,
    RestartingServer,
    RunningProcess,
    Server,
    Spawned,
    UnusableCode,
)
from pelagos_core.plugin.program import Compilation

log = logging.getLogger(__name__)

IMPORT_SECONDS = 20.0
DETECT_SECONDS = 5.0
HOLD_SECONDS = 1.0  # that a hook may block the daemon, and with it every container of the pod
NO_CONFIG = Config()
AUTO = "auto"
_Answer = TypeVar("_Answer")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_RESERVED = {AUTO: "it stands for any backend", native.NAME: "it belongs to pelagos itself"}


@dataclass(frozen=True, slots=True)
class Failure:
    """A backend that was left out: its name, the stage and the reason."""

    name: str
    stage: str
    reason: str

    def __str__(self) -> str:
        return f"backend {self.name!r} failed in {self.stage}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Plugin:
    """A backend before it is loaded: its name, its distribution's version and name, and its import."""

    name: str
    version: str
    load: Callable[[], object]
    package: str = ""

    def __str__(self) -> str:
        return f"{self.package} {self.version}".strip() or "of no package"


def refused(plugins: Iterable[Plugin]) -> tuple[Failure, ...]:
    """The names that cannot be used, with the reason. Imports nothing.

    A name that two packages claim is refused for both: it is not clear which one an operator means,
    and neither may replace the other silently.
    """
    claims: dict[str, list[str]] = defaultdict(list)
    for plugin in plugins:
        claims[plugin.name].append(str(plugin))
    found = ((name, _objection(name, sorted(claimants))) for name, claimants in sorted(claims.items()))
    return tuple(Failure(name, "loading", objection) for name, objection in found if objection)


def _objection(name: str, claimants: list[str]) -> str:
    """Why a name that these packages claim is refused; empty if it is not."""
    packages = " and ".join(claimants)
    if name in _RESERVED:
        return f"the name is reserved, {_RESERVED[name]} (package {packages})"
    if not _NAME.fullmatch(name):
        rule = "1 to 64 of a-z, 0-9, '.', '_' and '-', a letter or digit first"
        return f"not a name of a backend: {rule} (package {packages})"
    if len(claimants) > 1:
        return f"{len(claimants)} packages claim the name, {packages}: uninstall all except one"
    return ""


class Backend:
    """One installed backend: its name, its package, and its hooks.

    origin: digest of its settings and of the file with its hooks, see `identity.origin`.
    """

    def __init__(self, name: str, version: str, summary: str, hooks: pluggy.HookRelay, origin: str = "") -> None:
        self.name = name
        self.version = version
        self.summary = summary
        self._hooks = hooks
        self._origin = origin

    @functools.cached_property
    def identity(self) -> str:
        """A digest of all that its answers depend on besides the arguments: its code, its engine and its settings.

        It is that of the loaded code: after an upgrade or a change of the config, processes that load it later
        have another identity.
        """
        said = self.description
        engine = (said.engine, said.version, said.form, said.program, said.lacks, said.limits, said.problem)
        own = (self.name, self.version, *engine, self._origin)
        return identity.digest_of(own)

    @functools.cached_property
    def description(self) -> Description:
        """The answer of `describe`; an empty one, with the problem, if the hook fails."""
        try:
            with time_limit(DETECT_SECONDS):
                answer: object = self._hooks.pelagos_describe()
        except BaseException as error:  # noqa: BLE001 (a plugin may raise anything, SystemExit too)
            return Description(problem=described(error))
        return answer if isinstance(answer, Description) else Description()

    @property
    def native(self) -> NativePart | None:
        """The native part, which runs its guests without Python; None if it has none that may be loaded."""
        return self._native[0]

    @property
    def native_problem(self) -> str:
        """Why its native part is not used; empty if it is used, or there is none."""
        return self._native[1]

    @functools.cached_property
    def _native(self) -> tuple[NativePart | None, str]:
        try:
            with time_limit(DETECT_SECONDS):
                answer: object = self._hooks.pelagos_native()
            return (None if answer is None else native_part.checked(answer)), ""
        except PelagosError as error:
            return None, error.message
        except BaseException as error:  # noqa: BLE001 (a plugin may raise anything, SystemExit too)
            return None, described(error)

    def detect(self, bundle: Bundle, entrypoint: Entrypoint) -> Detection | None:
        """Call the hook `detect`. Raises any exception of the backend, or TooSlow.

        In any process; the caller must be in the main thread (the limit is a timer signal).
        """
        with time_limit(DETECT_SECONDS):
            answers: list[object] = self._hooks.pelagos_detect(bundle=bundle, entrypoint=entrypoint)
        answer = answers[0] if answers else None
        if answer is None or isinstance(answer, Detection):
            return answer
        raise TypeError(f"detect returned {type(answer).__name__}, not a Detection")

    def spawn(self, bundle: Bundle, entrypoint: Entrypoint) -> Spawned:
        """Call the hook `spawn`, in the init process. Raises PelagosError or UnusableCode."""
        try:
            workload = self._hooks.pelagos_spawn(bundle=bundle, entrypoint=entrypoint)
        except (PelagosError, UnusableCode):
            raise
        except ImportError as error:
            raise Internal(
                f"backend {self.name!r}: {error} (spawn runs inside the container: "
                "import everything when the backend itself is imported)",
                reasons.ENGINE_FAILED,
            ) from error
        # Includes SystemExit: a plugin must not end the process.
        except BaseException as error:
            raise InvalidArgument(f"backend {self.name!r}: {described(error)}", reasons.ENGINE_FAILED) from error
        if not (callable(workload) or isinstance(workload, Server | RestartingServer)):
            raise Internal(f"backend {self.name!r}: spawn returned no workload", reasons.ENGINE_FAILED)
        return workload  # type: ignore[no-any-return]  # pluggy calls are untyped

    @property
    def compiles(self) -> bool:
        """Whether it has one of the hooks `compile` and `compiler`."""
        return any(hook.get_hookimpls() for hook in (self._hooks.pelagos_compile, self._hooks.pelagos_compiler))

    def code_key(self, entrypoint: Entrypoint) -> str | None:
        """What compiled code depends on besides the module; None if it is not compiled ahead of time.

        For a backend that `compiles`. In any process; the caller must be in the main thread.
        Raises Internal.
        """
        # Not a built-in default: pluggy calls the next hook if the first one returns None.
        if not self._hooks.pelagos_code_key.get_hookimpls():
            return str(entrypoint.limits)
        return self._answer("code_key", entrypoint, str)

    def compilation(self, entrypoint: Entrypoint) -> Compilation | None:
        """How a program compiles the entry point; None if the hook `compile` does.

        In the compile service; the caller must be in the main thread. Raises Internal.
        """
        return self._answer("compiler", entrypoint, Compilation)

    def _answer(self, hook: str, entrypoint: Entrypoint, kind: type[_Answer]) -> _Answer | None:
        """Call a hook without side effects, which may return None. Raises Internal for any other type."""
        try:
            with time_limit(DETECT_SECONDS):
                answer: object = getattr(self._hooks, f"pelagos_{hook}")(entrypoint=entrypoint)
        except BaseException as error:
            raise Internal(f"backend {self.name!r}: {hook}: {described(error)}", reasons.ENGINE_FAILED) from error
        if answer is None or isinstance(answer, kind):
            return answer
        what = f"backend {self.name!r}: {hook} returned {type(answer).__name__}, not a {kind.__name__}"
        raise Internal(what, reasons.ENGINE_FAILED)

    def compile(self, entrypoint: Entrypoint) -> bytes | bytearray | memoryview:
        """Compile the entry point, in a process that was forked for this.

        Raises InvalidArgument if the backend refuses the module, ResourceExhausted if memory is
        short, and any other PelagosError for a fault of the backend.
        """
        try:
            code: object = self._hooks.pelagos_compile(entrypoint=entrypoint)
        except InvalidArgument:
            raise
        except PelagosError as error:
            error.reason = error.reason or reasons.ENGINE_FAILED
            raise
        except MemoryError as error:
            raise ResourceExhausted(f"backend {self.name!r}: {described(error)}") from error
        except BaseException as error:
            raise Internal(f"backend {self.name!r}: compile: {described(error)}", reasons.ENGINE_FAILED) from error
        if isinstance(code, bytes | bytearray | memoryview) and len(code):
            return code
        raise Internal(f"backend {self.name!r}: compile returned no code", reasons.ENGINE_FAILED)

    def signal(self, process: RunningProcess, signum: int) -> None:
        """Deliver a signal, in the daemon. Raises OSError or PelagosError.

        If the hook does not return in time, the built-in hook is called.
        """
        try:
            with time_limit(HOLD_SECONDS):
                self._hooks.pelagos_signal(process=process, signum=signum)
        except (OSError, PelagosError):
            raise
        except TooSlow as error:
            log.warning("backend %r: signal: %s; the built-in one takes over", self.name, error)
            builtin.pelagos_signal(process, signum)
        # Includes SystemExit, which would end the daemon and with it every container of the pod.
        except BaseException as error:
            raise Internal(f"backend {self.name!r}: signal: {described(error)}") from error

    @functools.cached_property
    def has_wait(self) -> bool:
        """Whether it implements the hook `wait`. Else the daemon reaps by pidfd without a call of the hook."""
        return any(hook.plugin is not builtin for hook in self._hooks.pelagos_wait.get_hookimpls())

    async def wait(self, process: RunningProcess) -> ExitStatus | None:
        """The process' exit status, in the daemon; None if the hook fails, blocks or returns an invalid value."""
        try:
            status = await in_steps(self._waiting(process), HOLD_SECONDS)
        except asyncio.CancelledError:
            raise
        except BaseException:  # includes SystemExit, as for `signal`
            log.exception("backend %r: wait", self.name)
            return None
        if isinstance(status, ExitStatus):
            return status
        log.warning("backend %r: wait returned %r, not an ExitStatus", self.name, status)
        return None

    async def _waiting(self, process: RunningProcess) -> object:
        return await self._hooks.pelagos_wait(process=process)


@dataclass(frozen=True, slots=True)
class Backends:
    """All backends of this environment, in the order of their names."""

    installed: tuple[Backend, ...]
    failures: tuple[Failure, ...] = field(default=())

    @classmethod
    def load(
        cls,
        plugins: Iterable[Plugin],
        config: Config = NO_CONFIG,
        excluded: tuple[Failure, ...] = (),
        announce: Callable[[str], None] = lambda name: None,
    ) -> Backends:
        """Import every backend with a usable name, bind its hooks, and pass it its settings.

        excluded: backends that must not be imported, with the reason.
        announce: called with each name before that backend's code runs.
        """
        plugins = sorted(plugins, key=lambda plugin: plugin.name)
        installed: list[Backend] = []
        failures = list(dict.fromkeys([*refused(plugins), *excluded]))  # `excluded` may repeat the refused names
        out = {failure.name for failure in failures}
        for plugin in plugins:
            if plugin.name in out:
                continue
            announce(plugin.name)
            try:
                installed.append(_loaded(plugin, config.settings(plugin.name)))
            except BaseException as error:  # noqa: BLE001 (an import may raise anything, SystemExit too)
                failures.append(Failure(plugin.name, "import", described(error)))
                log.warning("%s", failures[-1])
        return cls(tuple(installed), tuple(failures))

    @property
    def identity(self) -> str:
        """A digest of the identities of all backends, see `Backend.identity`."""
        return identity.digest_of([backend.identity for backend in self.installed])

    def named(self, name: str) -> Backend:
        """The backend of this name, also the built-in one. Raises NotFound."""
        for backend in (*self.installed, NATIVE):
            if backend.name == name:
                return backend
        raise NotFound(f"backend {name!r} is not installed")


def _loaded(plugin: Plugin, settings: Mapping[str, object]) -> Backend:
    """Import one plugin, bind its hooks, and pass it its settings.

    Each plugin has its own plugin manager, together with the built-in hooks: in a shared one
    pluggy would call the last registered plugin first, whichever was chosen.
    """
    with time_limit(IMPORT_SECONDS):
        module = plugin.load()
        _check_contract(plugin, getattr(module, "pelagos_contract", CONTRACT))
        manager = _manager(module)
        if not manager.hook.pelagos_spawn.get_hookimpls():
            raise TypeError("it has no pelagos_spawn")
        if settings and not manager.hook.pelagos_configure.get_hookimpls():
            raise ValueError("the node's config has settings for it, and it takes none")
        manager.hook.pelagos_configure(settings=settings)
    return Backend(plugin.name, plugin.version, _summary(module), manager.hook, identity.origin(module, settings))


def _check_contract(plugin: Plugin, contract: object) -> None:
    """Raise TypeError, with the way out, unless a backend was written for this version of the hooks' contract."""
    if contract == CONTRACT:
        return
    older = "pelagos-core" if isinstance(contract, int) and contract > CONTRACT else plugin.package or "the backend"
    raise TypeError(
        f"it was built for version {contract} of the hook contract, pelagos-core {__version__} has version {CONTRACT}: "
        f"upgrade {older}"
    )


def _manager(module: object) -> pluggy.PluginManager:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(builtin)
    manager.register(module)
    manager.check_pending()  # else a misspelt hook is ignored silently
    return manager


def _summary(module: object) -> str:
    lines = (getattr(module, "__doc__", None) or "").strip().splitlines()
    return lines[0] if lines else ""


NATIVE = Backend(native.NAME, __version__, _summary(native), _manager(native).hook)
"""The backend of native programs. It is part of pelagos, so it is not among the installed ones."""


def described(error: BaseException) -> str:
    """The text for an exception: its type and message."""
    text = error.message if isinstance(error, PelagosError) else str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
