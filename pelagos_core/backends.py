"""The backends that are installed: found, asked, chosen. The only caller of pluggy.

A backend is other people's code. Whatever it does wrong (fails to import, raises, hangs,
answers nonsense) is put on record under its name, and the others go on.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from types import FrameType
from typing import Any

import pluggy

from pelagos_core import builtin_hooks, hookspecs
from pelagos_core.bundle import Bundle
from pelagos_core.entrypoint import Entrypoint
from pelagos_core.errors import FailedPrecondition, Internal, InvalidArgument, NotFound, PelagosError
from pelagos_core.exit_status import ExitStatus
from pelagos_core.hookspecs import Detection, RunningProcess, Workload

log = logging.getLogger(__name__)

AUTO = "auto"
ANNOTATION = "io.pelagos.wasm.runtime"
IMPORT_SECONDS = 20.0
DETECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Failure:
    """A backend that was left out: which, at what, and why."""

    name: str
    stage: str
    reason: str

    def __str__(self) -> str:
        return f"backend {self.name!r} failed in {self.stage}: {self.reason}"


class TooSlow(Exception):
    """Raised inside a backend's call when its time is over."""


class Backend:
    """One installed backend: its name, where it comes from, and its hooks."""

    def __init__(self, name: str, version: str, summary: str, hooks: pluggy.HookRelay) -> None:
        self.name = name
        self.version = version
        self.summary = summary
        self._hooks = hooks

    def detect(self, bundle: Bundle, entrypoint: Entrypoint) -> Detection | None:
        """Ask it once. Raises whatever the backend raises, or TooSlow.

        In any process; the caller must be in the main thread (the limit is a timer signal).
        """
        with _time_limit(DETECT_SECONDS):
            answers: list[object] = self._hooks.pelagos_detect(bundle=bundle, entrypoint=entrypoint)
        answer = answers[0] if answers else None
        if answer is None or isinstance(answer, Detection):
            return answer
        raise TypeError(f"detect returned {type(answer).__name__}, not a Detection")

    def spawn(self, bundle: Bundle, entrypoint: Entrypoint) -> Workload:
        """Load the entry point, in the init process. Raises PelagosError."""
        try:
            workload = self._hooks.pelagos_spawn(bundle=bundle, entrypoint=entrypoint)
        except PelagosError:
            raise
        except ImportError as error:
            raise Internal(
                f"backend {self.name!r}: {error} (spawn runs inside the container: "
                "import everything when the backend itself is imported)"
            ) from error
        # SystemExit and the like too: a plugin must not end the process behind our back.
        except BaseException as error:
            raise InvalidArgument(f"backend {self.name!r}: {_described(error)}") from error
        if not callable(workload):
            raise Internal(f"backend {self.name!r}: spawn returned no workload")
        return workload  # type: ignore[no-any-return]  # pluggy calls are untyped

    def signal(self, process: RunningProcess, signum: int) -> None:
        """Deliver a signal, in the daemon. Raises OSError or PelagosError."""
        try:
            self._hooks.pelagos_signal(process=process, signum=signum)
        except (OSError, PelagosError):
            raise
        # SystemExit too: it would end the daemon, and with it every container of the pod.
        except BaseException as error:
            raise Internal(f"backend {self.name!r}: signal: {_described(error)}") from error

    async def wait(self, process: RunningProcess) -> ExitStatus | None:
        """The process' exit status, in the daemon; None if the hook fails or tells nonsense."""
        try:
            status: object = await self._waiting(process)
        except asyncio.CancelledError:
            raise
        except BaseException:  # SystemExit too, as for `signal`
            log.exception("backend %r: wait", self.name)
            return None
        if isinstance(status, ExitStatus):
            return status
        log.warning("backend %r: wait gave %r, not an ExitStatus", self.name, status)
        return None

    def _waiting(self, process: RunningProcess) -> Awaitable[ExitStatus]:
        return self._hooks.pelagos_wait(process=process)  # type: ignore[no-any-return]  # pluggy calls are untyped


@dataclass(frozen=True, slots=True)
class Choice:
    """The outcome of asking: who runs it and what each one said."""

    backend: Backend | None
    detections: dict[str, Detection]
    failures: tuple[Failure, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Backends:
    """All backends of this environment, in the order of their names."""

    installed: tuple[Backend, ...]
    failures: tuple[Failure, ...] = field(default=())

    @classmethod
    def load(cls, plugins: Iterable[tuple[str, str, Callable[[], object]]] | None = None) -> Backends:
        """Import every backend and bind its hooks.

        plugins: (name, version, import function) triples; by default the entry points of
            the group `pelagos.backends`, which costs a walk over all distributions.
        """
        installed: list[Backend] = []
        failures: list[Failure] = []
        found = _entry_points() if plugins is None else plugins
        for name, version, load in sorted(found, key=lambda plugin: plugin[0]):
            try:
                if any(backend.name == name for backend in installed):
                    raise ValueError("another distribution has a backend of this name")
                installed.append(_loaded(name, version, load))
            except BaseException as error:  # noqa: BLE001 (an import may raise anything, SystemExit too)
                failures.append(Failure(name, "import", _described(error)))
                log.warning("%s", failures[-1])
        return cls(tuple(installed), tuple(failures))

    def named(self, name: str) -> Backend:
        """The backend of this name. Raises NotFound."""
        for backend in self.installed:
            if backend.name == name:
                return backend
        raise NotFound(f"backend {name!r} is not installed")

    def choose(
        self,
        bundle: Bundle,
        entrypoint: Entrypoint,
        asking: Callable[[str], None] = lambda name: None,
        excluded: tuple[Failure, ...] = (),
    ) -> Choice:
        """Ask the backends and take the best, or the one that the container names.

        asking: called with each name before that backend is asked.
        excluded: backends that are not to be asked, with the reason.
        """
        wanted = bundle.spec.annotations.get(ANNOTATION, "") or AUTO
        out = {failure.name for failure in excluded}
        detections: dict[str, Detection] = {}
        failures = [*self.failures, *excluded]
        for backend in self.installed:
            if backend.name in out or wanted not in (AUTO, backend.name):
                continue
            asking(backend.name)
            try:
                answer = backend.detect(bundle, entrypoint)
            except BaseException as error:  # noqa: BLE001 (a plugin may raise anything, SystemExit too)
                failures.append(Failure(backend.name, "detect", _described(error)))
                log.warning("%s", failures[-1])
            else:
                detections[backend.name] = answer or Detection.cannot("not for this backend")
        return self._best(wanted, detections, tuple(failures))

    def _best(self, wanted: str, detections: dict[str, Detection], failures: tuple[Failure, ...]) -> Choice:
        able = [backend for backend in self.installed if backend.name in detections and detections[backend.name].score]
        # Equal scores go by name, so that the choice is the same on every node.
        best = min(able, key=lambda backend: (-detections[backend.name].score, backend.name), default=None)
        if best is None:
            return Choice(None, detections, failures, "no installed backend can run it")
        how = "named by the container" if wanted != AUTO else "best of " + ", ".join(backend.name for backend in able)
        return Choice(best, detections, failures, f"{detections[best.name].reason}; {how}")

    def refusal(self, bundle: Bundle, entrypoint: Entrypoint, choice: Choice) -> PelagosError:
        """The error for a choice without a backend: who was asked and what each said."""
        wanted = bundle.spec.annotations.get(ANNOTATION, "") or AUTO
        names = ", ".join(backend.name for backend in self.installed) or "none"
        broken = {failure.name: failure for failure in choice.failures}
        if wanted != AUTO and wanted not in choice.detections and wanted not in broken:
            return NotFound(f"backend {wanted!r} is not installed (installed: {names})")
        said = [f"{name}: {detection.reason}" for name, detection in choice.detections.items()]
        said += [str(failure) for failure in choice.failures if wanted in (AUTO, failure.name)]
        what = f"entry point {entrypoint.path!r} ({entrypoint.kind.value})"
        told = "; ".join(said) or f"installed: {names}"
        if broken and not choice.detections:
            return FailedPrecondition(f"{what}: no usable backend: {told}")
        return InvalidArgument(f"{what}: no installed backend can run it: {told}")


def _entry_points() -> list[tuple[str, str, Callable[[], object]]]:
    points = metadata.entry_points(group=hookspecs.ENTRY_POINT_GROUP)
    return [(point.name, point.dist.version if point.dist else "", point.load) for point in points]


def _loaded(name: str, version: str, load: Callable[[], object]) -> Backend:
    """Import one plugin and bind its hooks.

    It gets a plugin manager of its own, with the built-in hooks beside it: in a shared one
    pluggy would ask the last registered plugin first, whichever was chosen.
    """
    with _time_limit(IMPORT_SECONDS):
        plugin = load()
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(builtin_hooks)
    manager.register(plugin)
    manager.check_pending()  # a misspelt hook is silent otherwise
    if not manager.hook.pelagos_spawn.get_hookimpls():
        raise TypeError("it has no pelagos_spawn")
    lines = (getattr(plugin, "__doc__", None) or "").strip().splitlines()
    return Backend(name, version, lines[0] if lines else "", manager.hook)


def _described(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise TooSlow in the main thread after `seconds`: it ends Python code that hangs.

    A backend that hangs in native code, or swallows the exception, is dealt with by the
    daemon, which kills the process that asks.
    """

    def expire(_signum: int, _frame: FrameType | None) -> Any:  # noqa: ANN401 (signal handlers are so typed)
        raise TooSlow(f"no answer in {seconds:g} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
