"""The choice of a container's backend: the requested one, or the one with the best score of `detect`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from pelagos_core import reasons
from pelagos_core.backends.annotations import RUNTIME, opinions
from pelagos_core.backends.registry import AUTO, NATIVE, Backend, Backends, Failure, described
from pelagos_core.config.node_file import Config
from pelagos_core.errors import FailedPrecondition, InvalidArgument, NotFound, PelagosError
from pelagos_core.plugin import linking
from pelagos_core.plugin.bundle import RUNTIME_ANNOTATION, Bundle
from pelagos_core.plugin.entrypoint import Entrypoint, Kind
from pelagos_core.plugin.hookspecs import Detection

log = logging.getLogger(__name__)

ANNOTATION = RUNTIME_ANNOTATION
_Answers = tuple[dict[str, Detection], tuple[Failure, ...]]


@dataclass(frozen=True, slots=True)
class Preference:
    """The requested backend, the source of the request, and the configured order for Auto."""

    name: str = AUTO
    source: str = "no setting"
    order: tuple[str, ...] = ()

    def rank(self, name: str) -> int:
        """The position of a backend in the configured order; all that are not listed share the last one."""
        return self.order.index(name) if name in self.order else len(self.order)


def preference(
    annotations: Mapping[str, str], pod: Mapping[str, str], options: Config, node: Config, container: str = ""
) -> Preference:
    """The preference by the first of the sources that has one: container, pod, runtime options, node.

    annotations: of the container. pod: those of its pod. options: the runtime options of its
    Create request. node: the node's config. container: its name in the pod.
    Raises InvalidArgument for an unknown annotation.
    """
    asked = (
        *((said.words.get(RUNTIME, ""), said.source_of(RUNTIME)) for said in opinions(annotations, pod, container)),
        (options.runtime, "the runtime options"),
        (node.runtime, "the node's config"),
    )
    name, source = next((opinion for opinion in asked if opinion[0]), (AUTO, "no setting"))
    return Preference(name, source, options.order or node.order)


@dataclass(frozen=True, slots=True)
class Choice:
    """The outcome of a selection: the chosen backend, and the answer of each.

    backend: None if none can run it. failures: of backends that are unusable or have failed.
    """

    backend: Backend | None
    detections: Mapping[str, Detection]
    failures: tuple[Failure, ...]
    reason: str

    @property
    def able(self) -> list[str]:
        """The names of the backends that can run it."""
        return sorted(name for name, detection in self.detections.items() if detection.score)


def _ignore(name: str) -> None:
    """The default callback: does nothing. A named function, because it is pickled."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Chooses the backend of one container.

    excluded: backends whose hooks must not be called, with the reason.
    first: the backend that Auto tries before the others: for a further process of a container, the
        backend of its init process.
    asking: called with each name before that backend's `detect`.
    """

    backends: Backends
    preference: Preference = Preference()
    excluded: tuple[Failure, ...] = ()
    first: str = ""
    asking: Callable[[str], None] = _ignore

    @property
    def likely_with_native_part(self) -> Backend | None:
        """The most likely choice among the backends with a native part; None if none has one.

        Used while the entry point is not known yet: the requested backend, or the first in Auto's order; of equal
        ones, one whose engine loads fast.
        """

        def place(backend: Backend) -> tuple[int, bool, str]:
            return self.preference.rank(backend.name), not (backend.native and backend.native.is_light), backend.name

        able = [backend for backend in self.backends.installed if backend.native]
        asked = [backend for backend in able if backend.name == self.preference.name]
        return min(asked or able, key=place, default=None)

    def choose(self, bundle: Bundle, entrypoint: Entrypoint) -> Choice:
        """Call `detect` of the backends and choose the best, or the requested one.

        If the requested one cannot run it, the others are called too: the error names those that could.
        """
        if entrypoint.kind.is_native:
            return self._native(bundle, entrypoint)
        return self._chosen(lambda names: self._ask(names, bundle, entrypoint))

    def recall(self, detections: Mapping[str, Detection]) -> Choice | None:
        """The result of `choose` for a Wasm guest by earlier answers, without a call of a backend.

        detections: the backends' answers for the same file, function and limits, as in `Choice.detections`.
        In any process. Returns None if these do not suffice: a needed answer is missing, no backend can run
        the guest, or one is excluded. `choose` then gives the error.
        """
        if self.excluded:
            return None
        try:
            choice = self._chosen(lambda names: ({name: detections[name] for name in names}, ()))
        except KeyError:
            return None
        return choice if choice.backend else None

    def _chosen(self, ask: Callable[[list[str]], _Answers]) -> Choice:
        """Choose by the answers that `ask` returns for a list of backends' names."""
        wanted = self.preference.name
        installed = [backend.name for backend in self.backends.installed]
        sole = self.first if wanted == AUTO and self.first in installed else wanted
        asked = [name for name in installed if sole in (AUTO, name)]
        detections, failures = ask(asked)
        best = self._best(detections)
        if best is None and sole != AUTO:
            others = ask([name for name in installed if name not in asked])
            detections, failures = detections | others[0], failures + others[1]
            best = self._best(detections) if wanted == AUTO else None
        failures = (*self.backends.failures, *self.excluded, *failures)
        choice = Choice(None, detections, failures, "no installed backend can run it")
        if best is None:
            return choice
        reason = f"{detections[best].reason}; {self._how(best, choice.able)}"
        return replace(choice, backend=self.backends.named(best), reason=reason)

    def _how(self, best: str, able: list[str]) -> str:
        if self.preference.name != AUTO:
            return f"asked for by {self.preference.source}"
        return "as the container's first process" if best == self.first else f"best of {', '.join(able)}"

    def _native(self, bundle: Bundle, entrypoint: Entrypoint) -> Choice:
        """The native backend, whatever was requested: a pod's annotation applies to its pause container too."""
        detection = NATIVE.detect(bundle, entrypoint)
        assert detection is not None
        return Choice(NATIVE, {NATIVE.name: detection}, (), detection.reason)

    def refusal(self, entrypoint: Entrypoint, choice: Choice) -> PelagosError:
        """The error for a choice without a backend: names the request, the installed backends, and those that could."""
        wanted = self.preference.name
        what = f"entry point {entrypoint.path!r} ({entrypoint.kind.value})"
        if entrypoint.kind is Kind.UNKNOWN:
            what += ": exec format error"  # the text of execve(2), which clients search for
        could = f"; {', '.join(choice.able)} could" if choice.able else ""
        installed = ", ".join(backend.name for backend in self.backends.installed) or "none"
        failed = {failure.name: failure for failure in choice.failures}
        if wanted != AUTO:
            asked = f"backend {wanted!r}, asked for by {self.preference.source},"
            if wanted in failed:
                return FailedPrecondition(
                    f"{what}: {failed[wanted]} (installed: {installed}{could})", reasons.ENGINE_FAILED
                )
            if wanted not in choice.detections:
                return NotFound(
                    f"{what}: {asked} is not installed (installed: {installed}{could})", reasons.ENGINE_MISSING
                )
            reason = choice.detections[wanted].reason
            text = f"{what}: {asked} cannot run it: {reason} (installed: {installed}{could})"
            return InvalidArgument(text, _fault(choice))
        told = "; ".join([*_said(choice.detections), *map(str, choice.failures)]) or f"installed: {installed}"
        if failed and not choice.detections:
            return FailedPrecondition(f"{what}: no usable backend: {told}", reasons.ENGINE_FAILED)
        reason = _fault(choice) if self.backends.installed else reasons.ENGINE_MISSING
        return InvalidArgument(f"{what}: no installed backend can run it: {told}", reason)

    def _ask(self, names: list[str], bundle: Bundle, entrypoint: Entrypoint) -> _Answers:
        out = {failure.name for failure in self.excluded}
        detections: dict[str, Detection] = {}
        failures = []
        for name in names:
            if name in out:
                continue
            self.asking(name)
            try:
                detections[name] = _answer(self.backends.named(name), bundle, entrypoint)
            except BaseException as error:  # noqa: BLE001 (a plugin may raise anything, SystemExit too)
                failures.append(Failure(name, "detect", described(error)))
                log.warning("%s", failures[-1])
        return detections, tuple(failures)

    def _best(self, detections: Mapping[str, Detection]) -> str | None:
        def place(name: str) -> tuple[int, int, str]:
            # Equal scores are ordered by name, so that the choice is the same on every node.
            return (self.preference.rank(name), -detections[name].score, name)

        return min((name for name in detections if detections[name].score), key=place, default=None)


def _said(detections: Mapping[str, Detection]) -> list[str]:
    """The reasons of the backends, first those that say what is wrong with the file; equal reasons are merged."""
    names: dict[str, list[str]] = {}
    for name, detection in sorted(detections.items(), key=lambda each: each[1].fault != reasons.MODULE):
        names.setdefault(detection.reason, []).append(name)
    return [f"{', '.join(names[reason])}: {reason}" for reason in names]


def _fault(choice: Choice) -> str:
    """The reason code: of the file, unless another backend could run it."""
    faults = {detection.fault for detection in choice.detections.values()}
    return reasons.MODULE if reasons.MODULE in faults and not choice.able else reasons.ENGINE_UNFIT


def _answer(backend: Backend, bundle: Bundle, entrypoint: Entrypoint) -> Detection:
    detection = backend.detect(bundle, entrypoint) or Detection.cannot("not for this backend")
    if detection.score and detection.imports is not None:
        detection = _linked(detection, entrypoint)
    if detection.score and "function-values" not in backend.description.features and _has_values(entrypoint):
        reason = f"cannot give {entrypoint.func!r} arguments, or print what it returns"
        return replace(detection, score=0, reason=reason)
    missing = entrypoint.limits.required - backend.description.limits if detection.score else frozenset()
    if missing:
        return replace(detection, score=0, reason=f"cannot hold a guest to a limit of {', '.join(sorted(missing))}")
    return detection


def _has_values(entrypoint: Entrypoint) -> bool:
    """Whether the entry point's function may have parameters or results; False for text, which core does not parse."""
    try:
        return bool(entrypoint.func) and linking.has_values(entrypoint.interface, entrypoint.func)
    except InvalidArgument:
        return False  # the file is malformed, but the backend has accepted it


def _linked(detection: Detection, entrypoint: Entrypoint) -> Detection:
    """The answer, or a refusal if the file is malformed, has an unknown import, or has no entry point."""
    try:
        entrypoint.check(detection.imports or {}, detection.worlds)
    except InvalidArgument as error:
        return replace(detection, score=0, reason=error.message, fault=reasons.MODULE)
    return detection
