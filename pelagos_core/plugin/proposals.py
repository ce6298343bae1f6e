"""What the core modules of a file need from an engine: memories, and proposals beyond WebAssembly 1.0.

It is read from the sections, and from the custom section `target_features`, in which a tool chain lists the features
with which it has compiled. The code is not read: if only an instruction uses a proposal, it is not found.

Source: core specification, "Binary Format"; WebAssembly/tool-conventions, Linking.md ("Target Features Section").
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from pelagos_core.errors import InvalidArgument
from pelagos_core.plugin.sections import NotUnderstood, Section, load, malformed, sections

_CUSTOM, _TYPE, _TABLE, _MEMORY, _DATA_COUNT, _TAG = 0, 1, 4, 5, 12, 13
_NESTED_MODULE, _NESTED_COMPONENT = 1, 4
_MAX_DEPTH = 20
_FUNCTION_TYPE, _GC_TYPES = 0x60, (0x4E, 0x4F, 0x50, 0x5E, 0x5F)
_SIMD, _REFERENCE, _TYPED_REFERENCES = 0x7B, 0x6F, (0x63, 0x64)
_HAS_MAXIMUM, _IS_SHARED, _IS_64, _HAS_PAGE_SIZE = 1, 2, 4, 8
_PAGE_POWER = 16
_FEATURES = "target_features"
_MAX_NAME = 64
# Names of features in `target_features` that differ from ours.
_CALLED = {
    "simd128": "simd",
    "atomics": "threads",
    "exception-handling": "exceptions",
    "multimemory": "multi-memory",
    "multivalue": "multi-value",
    "bulk-memory-opt": "bulk-memory",
    "nontrapping-fptoint": "saturating-float-to-int",
    "sign-ext": "sign-extension",
}
_NO_PROPOSAL = frozenset({"call-indirect-overlong"})


@dataclass(frozen=True, slots=True)
class Memory:
    """A linear memory that a module defines. minimum, maximum: bytes; maximum is None if there is none."""

    minimum: int
    maximum: int | None
    is_shared: bool
    is_64: bool


@dataclass(slots=True)
class Needs:
    """What the modules of a file need. is_complete: whether core has understood all sections."""

    memories: list[Memory] = field(default_factory=list)
    proposals: set[str] = field(default_factory=set)
    is_complete: bool = True


def read(file: int, *, is_component: bool) -> Needs:
    """Read what a core module needs, or what all modules in a component need.

    file: the descriptor of a binary; its offset is neither used nor changed. Raises OSError.
    """
    needs = Needs()
    try:
        if is_component:
            _component(file, 0, None, needs, 0)
        else:
            _module(file, 0, None, needs)
    except (NotUnderstood, IndexError, UnicodeDecodeError, InvalidArgument):
        needs.is_complete = False
    return needs


def _component(file: int, begin: int, end: int | None, needs: Needs, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise NotUnderstood
    for kind, offset, size in sections(file, begin, end):
        if kind == _NESTED_MODULE:
            _module(file, offset, offset + size, needs)
        elif kind == _NESTED_COMPONENT:
            _component(file, offset, offset + size, needs, depth + 1)


def _module(file: int, begin: int, end: int | None, needs: Needs) -> None:
    memories = len(needs.memories)
    for kind, offset, size in sections(file, begin, end):
        if kind == _CUSTOM:
            _read_custom(file, offset, size, needs)
        elif kind == _TYPE:
            _read_types(load(file, offset, size), needs)
        elif kind == _MEMORY:
            section = load(file, offset, size)
            needs.memories += [_memory(section, needs) for _ in range(section.count())]
        elif kind == _TABLE:
            needs.proposals |= {"reference-types"} if load(file, offset, size).count() > 1 else set()
        elif kind in (_DATA_COUNT, _TAG):
            needs.proposals.add("bulk-memory" if kind == _DATA_COUNT else "exceptions")
    if len(needs.memories) - memories > 1:
        needs.proposals.add("multi-memory")


def _read_custom(file: int, offset: int, size: int, needs: Needs) -> None:
    head = Section(os.pread(file, min(size, _MAX_NAME), offset))
    length = head.number()
    if head.data[head.at : head.at + length] != _FEATURES.encode():
        return
    section = load(file, offset, size)
    section.name()
    for _ in range(section.count()):
        is_used, name = section.byte() == ord("+"), section.name()
        if is_used and name not in _NO_PROPOSAL and name.isprintable() and len(name) <= _MAX_NAME:
            needs.proposals.add(_CALLED.get(name, name))


def _read_types(section: Section, needs: Needs) -> None:
    for _ in range(section.count()):
        kind = section.byte()
        if kind in _GC_TYPES:
            needs.proposals.add("gc")
            return  # the types that follow have another encoding
        if kind != _FUNCTION_TYPE:
            raise NotUnderstood
        for is_result in (False, True):
            count = section.count()
            needs.proposals |= {"multi-value"} if is_result and count > 1 else set()
            for _ in range(count):
                _read_value_type(section, needs)


def _read_value_type(section: Section, needs: Needs) -> None:
    kind = section.byte()
    if kind in _TYPED_REFERENCES:
        section.skip_number()
        needs.proposals.add("function-references")
    elif kind == _SIMD:
        needs.proposals.add("simd")
    elif kind == _REFERENCE:
        needs.proposals.add("reference-types")


def _memory(section: Section, needs: Needs) -> Memory:
    flags, minimum = section.byte(), section.number(64)
    maximum = section.number(64) if flags & _HAS_MAXIMUM else None
    power = section.number() if flags & _HAS_PAGE_SIZE else _PAGE_POWER
    if power > _PAGE_POWER:
        malformed(f"a memory with pages of 2^{power} bytes")
    for flag, name in ((_IS_SHARED, "threads"), (_IS_64, "memory64"), (_HAS_PAGE_SIZE, "custom-page-sizes")):
        needs.proposals |= {name} if flags & flag else set()
    most = None if maximum is None else maximum << power
    return Memory(minimum << power, most, bool(flags & _IS_SHARED), bool(flags & _IS_64))
