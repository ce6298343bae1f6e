"""Collects the properties of a module: its kind, imports and exports, and the backends that can run it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from pelagos_core.backends.selection import Choice
from pelagos_core.errors import InvalidArgument
from pelagos_core.plugin import linking, proposals, wasi
from pelagos_core.plugin.entrypoint import Entrypoint, Kind
from pelagos_core.plugin.interface import UNKNOWN, Interface
from pelagos_core.plugin.proposals import Memory, Needs

_CORE_WORLDS = {
    wasi.WASI_0_1: "WASI 0.1",
    wasi.WASI_UNSTABLE: "WASI's snapshot before 0.1",
    "wasix_32v1": "WASIX",
    "wasix_64v1": "WASIX",
}
# The world of a component, by an interface that it exports.
_WORLDS = {
    "wasi:cli/run": ("wasi:cli/command", "command"),
    "wasi:http/incoming-handler": ("wasi:http/proxy", "HTTP handler"),
    "wasi:http/handler": ("wasi:http/service", "HTTP handler"),
}
_UNFINISHED = {"dylink": "shared library", "linking": "object file", "component-type": "to become a component"}


@dataclass(frozen=True, slots=True)
class Item:
    """An import or an export. module: for an import of a core module. type: of a function, if it is known."""

    module: str
    name: str
    kind: str
    type: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a backend about the module."""

    backend: str
    can: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """A module.

    role: its purpose, such as `command`; empty if it is not known.
    problem: what is wrong with the file.
    memories, proposals: of a binary; None if they are not known.
    chosen: the backend that would run it, or "".
    """

    path: str
    size: int
    digest: str
    kind: str
    role: str
    worlds: tuple[str, ...]
    problem: str
    imports: tuple[Item, ...]
    exports: tuple[Item, ...]
    memories: tuple[Memory, ...] | None
    proposals: tuple[str, ...] | None
    answers: tuple[Answer, ...]
    chosen: str
    reason: str

    @classmethod
    def of(cls, entrypoint: Entrypoint, choice: Choice) -> Inspection:
        """Inspect the file of an entry point. Raises OSError."""
        interface, problem = _interface(entrypoint)
        needs = _needs(entrypoint)
        return cls(
            path=entrypoint.path,
            size=os.fstat(entrypoint.file).st_size,
            digest=entrypoint.digest,
            kind=entrypoint.kind.value,
            role=_role(interface),
            worlds=_worlds(interface),
            problem=problem,
            imports=tuple(Item(item.module, item.name, item.kind, item.signature) for item in interface.imports),
            exports=_exports(interface, entrypoint.functions or {}),
            memories=tuple(needs.memories) if needs else None,
            proposals=tuple(sorted(needs.proposals)) if needs else None,
            answers=(
                *(Answer(name, answer.score > 0, answer.reason) for name, answer in choice.detections.items()),
                *(Answer(failure.name, can=False, reason=failure.reason) for failure in choice.failures),
            ),
            chosen=choice.backend.name if choice.backend else "",
            reason=choice.reason,
        )


def _interface(entrypoint: Entrypoint) -> tuple[Interface, str]:
    try:
        return entrypoint.interface, ""
    except InvalidArgument as error:
        return UNKNOWN, error.message


def _needs(entrypoint: Entrypoint) -> Needs | None:
    if entrypoint.kind not in (Kind.MODULE, Kind.COMPONENT):
        return None
    needs = proposals.read(entrypoint.file, is_component=entrypoint.kind is Kind.COMPONENT)
    return needs if needs.is_complete else None


def _exports(interface: Interface, types: Mapping[str, str]) -> tuple[Item, ...]:
    """The exports; in a component, each interface is followed by its functions."""
    found = list[Item]()
    for item in interface.exports:
        found.append(Item("", item.name, item.kind, types.get(item.name, item.signature)))
        if item.kind == "instance":
            inner = f"{item.name}/"
            found += [Item("", name, "function", each) for name, each in types.items() if name.startswith(inner)]
    return tuple(found)


def _role(interface: Interface) -> str:
    if not interface.is_known:
        return ""
    if interface.is_component:
        return next((role for name, (_, role) in _WORLDS.items() if _exported(interface, name)), "library")
    for beginning, role in _UNFINISHED.items():
        is_linked = beginning == "linking" and interface.function(linking.COMMAND)  # a linked program kept its section
        if not is_linked and any(name.startswith(beginning) for name in interface.custom):
            return role
    is_command, is_library = (interface.function(name) is not None for name in (linking.COMMAND, linking.INITIALIZE))
    if is_command and is_library:
        return "command and library, which WASI does not have"
    return "command" if is_command else "library"


def _worlds(interface: Interface) -> tuple[str, ...]:
    if not interface.is_component:
        modules = {item.module for item in interface.imports}
        return tuple(dict.fromkeys(name for module, name in _CORE_WORLDS.items() if module in modules))
    found = ((world, _exported(interface, name)) for name, (world, _) in _WORLDS.items())
    return tuple(world + (f"@{name.partition('@')[2]}" if "@" in name else "") for world, name in found if name)


def _exported(interface: Interface, name: str) -> str:
    """The full name of an exported interface of any version; empty if it is not exported."""
    return next((item.name for item in interface.exports if item.name.partition("@")[0] == name), "")
