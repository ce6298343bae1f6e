"""What is known of a module once backends were asked about it: enough to choose one and start a guest, unasked.

A module's interface and the answers of `detect` depend on the file's bytes and on what is in the key. So they
are kept under it, and a guest needs no process in which a backend's Python looks at the file again. What is
kept was said by a process that had read the guest's bytes: it is to be kept under the digest that another
process has found, so that it can be wrong about its own module at the most.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace
from typing import Any

from pelagos_core import __version__, reasons
from pelagos_core.backends.registry import Backend, Backends
from pelagos_core.backends.selection import Choice, Selection
from pelagos_core.errors import InvalidArgument
from pelagos_core.plugin import linking
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.entrypoint import Entrypoint, Kind
from pelagos_core.plugin.hookspecs import Detection
from pelagos_core.plugin.limits import Limits

_FORMAT = 1  # of what is kept; of another one nothing is found
MAX_BYTES = 32 << 10  # of what is kept of one module, as JSON
_MAX_SCORE = 100
_MAX_MEMORY = 2**63


@dataclass(frozen=True, slots=True)
class KnownKey:
    """What all that is kept of a module depends on.

    module: sha256 of its bytes, in hex. func: the function to be called, empty for the default one.
    limits: what the engine is to hold the guest to. readonly: `Bundle.has_readonly_files`.
    backends: `Backends.identity` of all that are installed. core: the version of pelagos, which reads interfaces.
    """

    module: str
    func: str
    limits: str
    readonly: bool
    backends: str
    core: str = __version__

    @classmethod
    def of(cls, module: str, func: str, limits: Limits, bundle: Bundle, backends: Backends) -> KnownKey:
        """The key for a module of this digest in a container, with the backends that this process has loaded."""
        return cls(module, func, str(limits), bundle.has_readonly_files, _identity(backends))

    def is_of(self, backends: Backends) -> bool:
        """Whether it is found by processes that have these backends."""
        return (self.backends, self.core) == (backends.identity, __version__)

    @property
    def name(self) -> str:
        """A digest of it, in hex."""
        return hashlib.sha256(json.dumps([_FORMAT, *astuple(self)]).encode()).hexdigest()


@functools.lru_cache(maxsize=1)
def _identity(backends: Backends) -> str:
    return backends.identity


@dataclass(frozen=True, slots=True)
class KnownGuest:
    """What it takes to start a guest without asking a backend.

    backend: which runs it, and reason: why, as in `Choice`.
    settings: the backend's part of the key of compiled code; None if the module is not compiled ahead of time.
    calls: of a core module, the functions to be called in order; of a component, the names that lead to the one.
    memories: bytes that each memory begins with. warns: `preopens.may_be_elsewhere`.
    """

    backend: Backend
    reason: str
    settings: str | None
    calls: tuple[str, ...]
    is_component: bool
    memories: tuple[int, ...]
    warns: bool


@dataclass(frozen=True, slots=True)
class KnownModule:
    """What is kept of a module.

    detections: the answers of backends that were asked, without what an engine's program needs.
    programs: the backends that run it by a program, whose files are looked for on the host each time.
    settings: of each backend that was chosen, as in `KnownGuest`. The rest is as there.
    """

    calls: tuple[str, ...]
    is_component: bool = False
    memories: tuple[int, ...] = ()
    warns: bool = False
    detections: Mapping[str, Detection] = field(default_factory=dict)
    programs: frozenset[str] = frozenset()
    settings: Mapping[str, str | None] = field(default_factory=dict)

    def guest(self, selection: Selection) -> KnownGuest | None:
        """How to start a guest of it, with the backend that would be chosen if all were asked.

        None where this does not tell: a backend has to be asked, or the chosen one is a program, or is chosen
        for the first time. In the daemon; calls no backend.
        """
        choice = selection.recall(self.detections)
        if choice is None or choice.backend is None:
            return None
        name = choice.backend.name
        if name in self.programs or name not in self.settings:
            return None
        own = self.calls, self.is_component, self.memories, self.warns
        return KnownGuest(choice.backend, choice.reason, self.settings[name], *own)

    def with_earlier(self, earlier: KnownModule) -> KnownModule:
        """The same, and what was known under the same key: answers of backends that were not asked this time."""
        return replace(
            self,
            detections={**earlier.detections, **self.detections},
            programs=self.programs | (earlier.programs - self.detections.keys()),
            settings={**earlier.settings, **self.settings},
        )

    def fields(self) -> dict[str, object]:
        """It as plain values, for JSON."""
        answers = {
            name: [answer.score, answer.reason, answer.fault, name in self.programs]
            for name, answer in self.detections.items()
        }
        return {
            "calls": list(self.calls),
            "is_component": self.is_component,
            "memories": list(self.memories),
            "warns": self.warns,
            "answers": answers,
            "settings": dict(self.settings),
        }

    @classmethod
    def of(cls, fields: object) -> KnownModule:
        """The inverse, for values that JSON gave. Raises ValueError: the sender is not trusted."""
        values = _checked(fields)
        answers = {name: _answer(value) for name, value in values["answers"].items()}
        return cls(
            calls=tuple(_text(name) for name in values["calls"]),
            is_component=values["is_component"],
            memories=tuple(_number(size, _MAX_MEMORY) for size in values["memories"]),
            warns=values["warns"],
            detections={name: answer for name, (answer, _) in answers.items()},
            programs=frozenset(name for name, (_, is_program) in answers.items() if is_program),
            settings={name: None if value is None else _text(value) for name, value in values["settings"].items()},
        )


def learnt(entrypoint: Entrypoint, choice: Choice, settings: str | None, *, warns: bool) -> KnownModule | None:
    """What is to be kept of an entry point, after its backend was chosen; None if nothing is.

    settings: what the chosen backend has said to `code_key`. In the process that has asked them.
    Nothing is kept of text, or of a module with items that core does not understand: only an engine knows what
    to call there. Nor if a backend has failed, or says that its answer depends on more than the key has.
    """
    if choice.backend is None or entrypoint.kind not in (Kind.MODULE, Kind.COMPONENT):
        return None
    if any(failure.stage == "detect" for failure in choice.failures):
        return None
    if not all(answer.kept for answer in choice.detections.values()):
        return None
    try:
        interface = entrypoint.interface
    except InvalidArgument:
        return None  # the engine says what is wrong with it
    if not interface.is_known:
        return None
    call = linking.function_path if interface.is_component else linking.calls
    return _sound(
        KnownModule(
            tuple(call(interface, entrypoint.func)),
            interface.is_component,
            interface.memories,
            warns,
            choice.detections,
            frozenset(name for name, answer in choice.detections.items() if answer.program is not None),
            {choice.backend.name: settings},
        )
    )


def _sound(known: KnownModule) -> KnownModule | None:
    """What is left of it once it was written and read; None for what is too large or has wrong types."""
    try:
        data = json.dumps(known.fields())
        return KnownModule.of(json.loads(data)) if len(data) <= MAX_BYTES else None
    except (TypeError, ValueError):
        return None


_KINDS: dict[str, type] = {
    "calls": list, "is_component": bool, "memories": list, "warns": bool, "answers": dict, "settings": dict
}  # fmt: skip


def _checked(fields: object) -> dict[str, Any]:
    if not isinstance(fields, dict) or {name: type(value) for name, value in fields.items()} != _KINDS:
        raise ValueError("not what is known of a module")
    return fields


def _answer(value: object) -> tuple[Detection, bool]:
    """A detection, and whether its backend needs a program. Raises ValueError."""
    if type(value) is not list or [type(item) for item in value] != [int, str, str, bool]:
        raise ValueError("not a backend's answer")
    score, reason, fault, is_program = value
    fault = fault if fault in reasons.ALL else reasons.ENGINE_UNFIT  # a backend's own word
    return Detection(_number(score, _MAX_SCORE), reason, fault=fault), is_program


def _text(value: object) -> str:
    if type(value) is not str:
        raise ValueError("not a text")
    return value


def _number(value: object, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError("not a number of its kind")
    return value
