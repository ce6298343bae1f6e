"""The record of a known module: it suffices to choose a backend and start a guest without calling any backend.

A module's interface and the answers of `detect` depend on the file's bytes and on the other fields of the key.
So they are stored under the key, and later guests need no process in which a backend's Python reads the file.
The process that creates the record has read the guest's bytes and is not trusted. So another process computes the
digest under which the record is stored: a wrong record then affects only its own module.
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
from pelagos_core.plugin import linking, sockets
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.entrypoint import Entrypoint, Kind
from pelagos_core.plugin.hookspecs import Detection
from pelagos_core.plugin.limits import Limits

_FORMAT = 3  # of a record; part of the key, so records of another format are not found
MAX_BYTES = 32 << 10  # of the record of one module, as JSON
_MAX_SCORE = 100
_MAX_MEMORY = 2**63


@dataclass(frozen=True, slots=True)
class KnownKey:
    """The key of a record: all that its content depends on.

    module: sha256 of its bytes, in hex. func: the function to call, empty for the default one.
    limits: that the engine enforces. readonly: `Bundle.has_readonly_files`. network: whether the guest has one.
    backends: `Backends.identity` of the installed ones. core: the version of pelagos, which parses interfaces.
    """

    module: str
    func: str
    limits: str
    readonly: bool
    network: bool
    backends: str
    core: str = __version__

    @classmethod
    def of(cls, module: str, func: str, limits: Limits, bundle: Bundle, backends: Backends) -> KnownKey:
        """The key for a module of this digest in a container, with the loaded backends of this process."""
        return cls(module, func, str(limits), bundle.has_readonly_files, bundle.policy.network, _identity(backends))

    def is_of(self, backends: Backends) -> bool:
        """Whether processes with these backends can find a record by this key."""
        return (self.backends, self.core) == (backends.identity, __version__)

    @property
    def name(self) -> str:
        """A digest of all fields, in hex."""
        return hashlib.sha256(json.dumps([_FORMAT, *astuple(self)]).encode()).hexdigest()


@functools.lru_cache(maxsize=1)
def _identity(backends: Backends) -> str:
    return backends.identity


@dataclass(frozen=True, slots=True)
class KnownGuest:
    """The data to start a guest without a call of a backend.

    backend, reason: as in `Choice`.
    settings: the backend's part of the key of compiled code; None if the module is not compiled ahead of time.
    calls: of a core module, the functions to call in order; of a component, the path of names to its function.
    memories: initial size of each memory, in bytes. warns: `preopens.may_be_elsewhere`.
    sockets: `sockets.asked_for`. vain: `sockets.waits_in_vain`.
    """

    backend: Backend
    reason: str
    settings: str | None
    calls: tuple[str, ...]
    is_component: bool
    memories: tuple[int, ...]
    warns: bool
    sockets: tuple[str, ...] = ()
    vain: bool = False


@dataclass(frozen=True, slots=True)
class KnownModule:
    """The record of a module.

    detections: the answers of backends, without the files of an engine's program.
    programs: the backends that run it by a program, whose files are looked up on the host each time.
    settings: of each backend that was chosen so far, as in `KnownGuest`. The other fields are as there.
    has_values: whether the function may take arguments or return something, so that a process with an
        interpreter converts and prints them.
    """

    calls: tuple[str, ...]
    is_component: bool = False
    memories: tuple[int, ...] = ()
    warns: bool = False
    sockets: tuple[str, ...] = ()
    vain: bool = False
    has_values: bool = False
    detections: Mapping[str, Detection] = field(default_factory=dict)
    programs: frozenset[str] = frozenset()
    settings: Mapping[str, str | None] = field(default_factory=dict)

    def guest(self, selection: Selection) -> KnownGuest | None:
        """The data to start a guest, with the backend that `Selection.choose` would choose.

        Returns None if the record does not suffice: an answer is missing, the chosen backend is a program or is
        chosen for the first time, or the function has parameters or results, which only Python converts and prints.
        Runs in the daemon; calls no backend.
        """
        choice = selection.recall(self.detections)
        if choice is None or choice.backend is None or self.has_values:
            return None
        name = choice.backend.name
        if name in self.programs or name not in self.settings:
            return None
        own = self.calls, self.is_component, self.memories, self.warns, self.sockets, self.vain
        return KnownGuest(choice.backend, choice.reason, self.settings[name], *own)

    def with_earlier(self, earlier: KnownModule) -> KnownModule:
        """This record, merged with an earlier one of the same key: it may hold answers of other backends."""
        return replace(
            self,
            detections={**earlier.detections, **self.detections},
            programs=self.programs | (earlier.programs - self.detections.keys()),
            settings={**earlier.settings, **self.settings},
        )

    def fields(self) -> dict[str, object]:
        """The record as plain values, for JSON."""
        answers = {
            name: [answer.score, answer.reason, answer.fault, name in self.programs]
            for name, answer in self.detections.items()
        }
        return {
            "calls": list(self.calls),
            "is_component": self.is_component,
            "memories": list(self.memories),
            "warns": self.warns,
            "sockets": list(self.sockets),
            "vain": self.vain,
            "has_values": self.has_values,
            "answers": answers,
            "settings": dict(self.settings),
        }

    @classmethod
    def of(cls, fields: object) -> KnownModule:
        """The record of values from JSON, which are not trusted. Raises ValueError."""
        values = _checked(fields)
        answers = {name: _answer(value) for name, value in values["answers"].items()}
        return cls(
            calls=tuple(_text(name) for name in values["calls"]),
            is_component=values["is_component"],
            memories=tuple(_number(size, _MAX_MEMORY) for size in values["memories"]),
            warns=values["warns"],
            sockets=tuple(_text(name) for name in values["sockets"]),
            vain=values["vain"],
            has_values=values["has_values"],
            detections={name: answer for name, (answer, _) in answers.items()},
            programs=frozenset(name for name, (_, is_program) in answers.items() if is_program),
            settings={name: None if value is None else _text(value) for name, value in values["settings"].items()},
        )


def learnt(entrypoint: Entrypoint, choice: Choice, settings: str | None, *, warns: bool) -> KnownModule | None:
    """The record of an entry point after its backend was chosen; None if it must not be stored.

    settings: the chosen backend's answer of `code_key`.
    Runs in the process that has called the backends. Text modules, and modules with items that core cannot parse,
    have no record, since only an engine can find their functions. There is no record either if a backend has failed,
    or if its answer depends on anything that the key does not contain.
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
        return None  # the engine reports the error
    if not interface.is_known:
        return None
    func = entrypoint.func
    paths = linking.function_paths(interface, func) if interface.is_component else [linking.calls(interface, func)]
    return _sound(
        KnownModule(
            tuple(paths[0]) if paths else (),
            interface.is_component,
            interface.memories,
            warns,
            sockets.asked_for(interface),
            sockets.waits_in_vain(interface),
            linking.has_values(interface, func),
            choice.detections,
            frozenset(name for name, answer in choice.detections.items() if answer.program is not None),
            {choice.backend.name: settings},
        )
    )


def _sound(known: KnownModule) -> KnownModule | None:
    """The record after encoding and decoding; None if it is too large or has wrong types."""
    try:
        data = json.dumps(known.fields())
        return KnownModule.of(json.loads(data)) if len(data) <= MAX_BYTES else None
    except (TypeError, ValueError):
        return None


_KINDS: dict[str, type] = {
    "calls": list, "is_component": bool, "memories": list, "warns": bool, "sockets": list, "vain": bool,
    "has_values": bool, "answers": dict, "settings": dict,
}  # fmt: skip


def _checked(fields: object) -> dict[str, Any]:
    if not isinstance(fields, dict) or {name: type(value) for name, value in fields.items()} != _KINDS:
        raise ValueError("not the record of a module")
    return fields


def _answer(value: object) -> tuple[Detection, bool]:
    """Decode a detection, and whether its backend needs a program. Raises ValueError."""
    if type(value) is not list or [type(item) for item in value] != [int, str, str, bool]:
        raise ValueError("not a backend's answer")
    score, reason, fault, is_program = value
    fault = fault if fault in reasons.ALL else reasons.ENGINE_UNFIT  # not a reason code of pelagos
    return Detection(_number(score, _MAX_SCORE), reason, fault=fault), is_program


def _text(value: object) -> str:
    if type(value) is not str:
        raise ValueError("not a text")
    return value


def _number(value: object, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError("not a number of its kind")
    return value
