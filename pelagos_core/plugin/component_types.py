"""The types of the functions that a component exports, in WIT notation, read from its sections.

They are used in messages and to find a function: an engine compares types itself. The bytes are untrusted: the depth
of nesting is limited, and a long type is cut. Source: component-model, Binary.md and WIT.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pelagos_core.errors import InvalidArgument
from pelagos_core.plugin.sections import MAX_READ, NotUnderstood, Section, load, sections

_MODULE, _COMPONENT, _INSTANCE, _ALIAS, _TYPE, _CANON, _IMPORT, _EXPORT, _VALUE = 1, 4, 5, 6, 7, 8, 10, 11, 12
_SKIPPED = (0, _MODULE, 2, 3, 9)  # custom sections; core modules, instances and types; a component's start section
_CORE, _FUNCTION, _OF_VALUE, _OF_TYPE, _OF_COMPONENT, _OF_INSTANCE = range(6)  # sorts
_MAX_DEPTH = 20
_MAX_TEXT = 300
_MAX_NAMES = 16 << 20  # characters: the name of an instance is repeated before each of its functions
_PLAIN_NAMES = (0, 1)

_PRIMITIVES = {
    0x7F: "bool", 0x7E: "s8", 0x7D: "u8", 0x7C: "s16", 0x7B: "u16", 0x7A: "s32", 0x79: "u32", 0x78: "s64", 0x77: "u64",
    0x76: "f32", 0x75: "f64", 0x74: "char", 0x73: "string", 0x64: "error-context",
}  # fmt: skip
_FUNCTION_TYPES = {0x40: "", 0x43: "async "}
_COMPONENT_TYPE, _INSTANCE_TYPE, _RESOURCE, _ASYNC_RESOURCE = 0x41, 0x42, 0x3F, 0x3E
_LIFT, _LOWER, _OF_RESOURCE = 0, 1, (2, 3, 4, 7)
_INDEXED_OPTIONS, _PLAIN_OPTIONS = (3, 4, 5, 7), (0, 1, 2, 6)


@dataclass(frozen=True, slots=True)
class _Item:
    """A type or a typed item: its text; for an instance or a component, its exports instead."""

    text: str = ""
    exports: dict[str, tuple[int, _Item]] = field(default_factory=dict)


class _Scope:
    """The index spaces of a component, or of the type of an instance. parent: the scope that contains it.

    MAX_READ limits the items of all scopes of one file together, because nested scopes exist at the same time.
    """

    def __init__(self, parent: _Scope | None = None) -> None:
        self.parent = parent
        self.depth: int = parent.depth + 1 if parent else 0
        if self.depth > _MAX_DEPTH:
            raise NotUnderstood
        self._numbers: Iterator[int] = parent._numbers if parent else itertools.count(1)
        self.items: dict[int, list[_Item]] = {sort: [] for sort in range(6)}
        self.exports: dict[str, tuple[int, _Item]] = {}

    def add(self, sort: int, item: _Item) -> _Item:
        """Add an item at the next index of its sort."""
        if next(self._numbers) > MAX_READ:
            raise NotUnderstood
        self.items[sort].append(item)
        return item

    def outer(self, count: int) -> _Scope:
        """The scope that is `count` levels further out."""
        scope = self
        for _ in range(min(count, _MAX_DEPTH + 1)):
            if scope.parent is None:
                raise IndexError
            scope = scope.parent
        return scope


def functions(file: int) -> dict[str, str] | None:
    """The exported functions and their types: `add` or `my:own/numbers@1.0.0/add` -> `(x: u32) -> u32`.

    file: the descriptor of a component that `wasm.read` has accepted; its offset is neither used nor changed.
    Returns None for a component with items that core does not understand, or with more than MAX_READ functions.
    """
    # The functions are counted before they are listed: one instance may be exported under many long names.
    try:
        exports = _component(file, 0, None, None).exports
    except (NotUnderstood, IndexError, UnicodeDecodeError, InvalidArgument):
        return None
    sizes = [(len(name), len(item.exports) + 1) for name, (_, item) in exports.items()]
    if sum(many for _, many in sizes) > MAX_READ or sum(length * many for length, many in sizes) > _MAX_NAMES:
        return None
    found = dict[str, str]()
    for name, (sort, item) in exports.items():
        if sort == _FUNCTION:
            found[name] = item.text
        elif sort == _OF_INSTANCE:
            inner = {f"{name}/{each}": it.text for each, (of, it) in item.exports.items() if of == _FUNCTION}
            found |= inner
    return found


def _component(file: int, begin: int, end: int | None, parent: _Scope | None) -> _Scope:
    """Read the sections of a component, which may be nested in another one."""
    scope = _Scope(parent)
    for kind, offset, size in sections(file, begin, end):
        if kind in _SKIPPED:
            continue
        if kind == _COMPONENT:
            nested = _component(file, offset, offset + size, scope)
            scope.add(_OF_COMPONENT, _Item(exports=nested.exports))
            continue
        if kind not in _READ:
            raise NotUnderstood
        section = load(file, offset, size)
        for _ in range(section.count()):
            _READ[kind](section, scope)
    return scope


def _read_type(section: Section, scope: _Scope) -> None:
    scope.add(_OF_TYPE, _type(section, scope))


def _type(section: Section, scope: _Scope) -> _Item:
    kind = section.byte()
    if kind in _FUNCTION_TYPES:
        return _Item(_cut(_FUNCTION_TYPES[kind] + _function(section, scope)))
    if kind in (_COMPONENT_TYPE, _INSTANCE_TYPE):
        inner = _Scope(scope)
        for _ in range(section.count()):
            _declaration(section, inner)
        return _Item(exports=inner.exports)
    if kind in (_RESOURCE, _ASYNC_RESOURCE):
        return _resource(section, kind)
    if kind in _PRIMITIVES:
        return _Item(_PRIMITIVES[kind])
    if kind not in _DEFINED:
        raise NotUnderstood
    return _Item(_cut(_DEFINED[kind](section, scope)))


def _resource(section: Section, kind: int) -> _Item:
    section.byte()  # how it is represented
    if kind == _ASYNC_RESOURCE:
        section.number()
    if section.byte():
        section.number()
    return _Item("resource")


def _function(section: Section, scope: _Scope) -> str:
    taken = ", ".join(f"{section.name()}: {_value(section, scope)}" for _ in range(section.count()))
    if section.byte() == 0:
        return f"({taken}) -> {_value(section, scope)}"
    section.byte()
    return f"({taken})"


def _value(section: Section, scope: _Scope) -> str:
    """The type of a value: a primitive type, or the index of another type."""
    kind = section.data[section.at]
    if kind in _PRIMITIVES:
        section.at += 1
        return _PRIMITIVES[kind]
    return scope.items[_OF_TYPE][section.number(33)].text


def _maybe(section: Section, scope: _Scope) -> str:
    return _value(section, scope) if section.byte() else ""


def _fields(section: Section, scope: _Scope) -> str:
    return ", ".join(f"{section.name()}: {_value(section, scope)}" for _ in range(section.count()))


def _cases(section: Section, scope: _Scope) -> str:
    found = []
    for _ in range(section.count()):
        name, payload = section.name(), _maybe(section, scope)
        section.byte()
        found.append(f"{name}({payload})" if payload else name)
    return ", ".join(found)


def _names(section: Section) -> str:
    return ", ".join(section.name() for _ in range(section.count()))


def _result(section: Section, scope: _Scope) -> str:
    ok, err = _maybe(section, scope), _maybe(section, scope)
    words = [ok or "_", *([err] if err else [])]
    return f"result<{', '.join(words)}>" if ok or err else "result"


def _handle(section: Section, scope: _Scope) -> str:
    return scope.items[_OF_TYPE][section.number()].text


def _list_of_length(section: Section, scope: _Scope) -> str:
    return f"list<{_value(section, scope)}, {section.number()}>"


_DEFINED: dict[int, Callable[[Section, _Scope], str]] = {
    0x72: lambda section, scope: f"record {{{_fields(section, scope)}}}",
    0x71: lambda section, scope: f"variant {{{_cases(section, scope)}}}",
    0x70: lambda section, scope: f"list<{_value(section, scope)}>",
    0x67: _list_of_length,
    0x6F: lambda section, scope: f"tuple<{', '.join(_value(section, scope) for _ in range(section.count()))}>",
    0x6E: lambda section, _: f"flags {{{_names(section)}}}",
    0x6D: lambda section, _: f"enum {{{_names(section)}}}",
    0x6B: lambda section, scope: f"option<{_value(section, scope)}>",
    0x6A: _result,
    0x69: _handle,
    0x68: lambda section, scope: f"borrow<{_handle(section, scope)}>",
    0x66: lambda section, scope: f"stream<{_maybe(section, scope) or '_'}>",
    0x65: lambda section, scope: f"future<{_maybe(section, scope) or '_'}>",
    0x63: lambda section, scope: f"map<{_value(section, scope)}, {_value(section, scope)}>",
}


def _declaration(section: Section, scope: _Scope) -> None:
    """Read one declaration in the type of an instance or a component."""
    kind = section.byte()
    if kind == 1:
        scope.add(_OF_TYPE, _type(section, scope))
    elif kind == 2:
        _read_alias(section, scope)
    elif kind == 3:
        _read_import(section, scope)
    elif kind == 4:
        name = _external_name(section)
        sort, item = _external(section, scope, name)
        scope.exports[name] = sort, scope.add(sort, item)
    else:
        raise NotUnderstood  # a core type


def _external_name(section: Section) -> str:
    if section.byte() not in _PLAIN_NAMES:
        raise NotUnderstood
    return section.name()


def _external(section: Section, scope: _Scope, name: str) -> tuple[int, _Item]:
    """Read the declared type of an import or export; return its sort and the item. name: the name of a resource."""
    kind = section.byte()
    if kind == _CORE:
        section.byte()
        section.number()
        return _CORE, _Item()
    if kind == _OF_TYPE:
        is_equal = section.byte() == 0
        return _OF_TYPE, scope.items[_OF_TYPE][section.number()] if is_equal else _Item(name)  # a resource, by its name
    if kind in (_FUNCTION, _OF_COMPONENT, _OF_INSTANCE):
        return kind, scope.items[_OF_TYPE][section.number()]
    raise NotUnderstood


def _read_import(section: Section, scope: _Scope) -> None:
    name = _external_name(section)
    sort, item = _external(section, scope, name)
    scope.add(sort, item)


def _read_export(section: Section, scope: _Scope) -> None:
    name = _external_name(section)
    sort, item = _referred(section, scope)
    if section.byte():
        declared = _external(section, scope, name)[1]
        item = declared if declared.text or declared.exports else item
    if sort == _OF_TYPE and item.text == "resource":
        item = _Item(name)
    scope.exports[name] = sort, scope.add(sort, item)


def _referred(section: Section, scope: _Scope) -> tuple[int, _Item]:
    """Read the sort and the index of an item; return the sort and the item."""
    sort = section.byte()
    if sort == _CORE:
        section.byte()
        section.number()
        return sort, _Item()
    if sort not in scope.items or sort == _OF_VALUE:
        raise NotUnderstood
    return sort, scope.items[sort][section.number()]


def _read_alias(section: Section, scope: _Scope) -> None:
    sort = section.byte()
    if sort == _CORE:
        section.byte()
    target = section.byte()
    if target == 0:
        instance, name = section.number(), section.name()
        if sort not in scope.items or sort == _OF_VALUE:
            raise NotUnderstood
        found, item = scope.items[_OF_INSTANCE][instance].exports.get(name, (-1, _Item()))
        if found != sort:
            raise NotUnderstood
        scope.add(sort, item)
    elif target == 1:
        section.number()
        section.name()
    else:
        outer, index = scope.outer(section.number()), section.number()
        if sort != _CORE:
            scope.add(sort, outer.items[sort][index])


def _read_instance(section: Section, scope: _Scope) -> None:
    exports = dict[str, tuple[int, _Item]]()
    if section.byte() == 0:
        exports = scope.items[_OF_COMPONENT][section.number()].exports
        for _ in range(section.count()):
            section.name()
            _referred(section, scope)
    else:
        for _ in range(section.count()):
            name = _external_name(section)
            exports[name] = _referred(section, scope)
    scope.add(_OF_INSTANCE, _Item(exports=exports))


def _read_canon(section: Section, scope: _Scope) -> None:
    """Read a canonical definition. Only `lift` defines a function of the component; others define core functions."""
    kind = section.byte()
    if kind == _LIFT:
        section.byte()
        section.number()
        _skip_options(section)
        scope.add(_FUNCTION, scope.items[_OF_TYPE][section.number()])
    elif kind == _LOWER:
        section.byte()
        section.number()
        _skip_options(section)
    elif kind in _OF_RESOURCE:
        section.number()
    else:
        raise NotUnderstood


def _skip_options(section: Section) -> None:
    for _ in range(section.count()):
        option = section.byte()
        if option in _INDEXED_OPTIONS:
            section.number()
        elif option not in _PLAIN_OPTIONS:
            raise NotUnderstood


def _cut(text: str) -> str:
    """Cut a long text: types that contain one another could otherwise grow exponentially."""
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"


_READ: dict[int, Callable[[Section, _Scope], None]] = {
    _INSTANCE: _read_instance,
    _ALIAS: _read_alias,
    _TYPE: _read_type,
    _CANON: _read_canon,
    _IMPORT: _read_import,
    _EXPORT: _read_export,
}
