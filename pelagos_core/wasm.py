"""What a WebAssembly binary imports and exports, read off its sections. No engine is needed.

Source: core specification, "Binary Format"; component-model, Binary.md. The bytes are
untrusted and the code section is never read, so it costs the same for a module of 69 MB.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from pelagos_core.errors import InvalidArgument

_TABLE, _MEMORY, _GLOBAL, _TAG = 1, 2, 3, 4
_CORE_KINDS = ("function", "table", "memory", "global", "tag")
_COMPONENT_KINDS = ("core", "function", "value", "type", "component", "instance")
_CUSTOM, _TYPE, _IMPORT, _FUNCTION, _EXPORT = 0, 1, 2, 3, 7
_COMPONENT_IMPORT, _COMPONENT_EXPORT = 10, 11
_FUNCTION_TYPE = 0x60
_REFERENCES = (0x63, 0x64)  # followed by the type that is referred to
_MAX_SECTION = 16 << 20  # of imports, exports or types; a code section may be larger
_MAX_COMPONENT_SECTIONS = 100_000


@dataclass(frozen=True, slots=True)
class Import:
    """One import. module: empty for a component, whose imports have one name."""

    module: str
    name: str
    kind: str

    def __str__(self) -> str:
        return f"{self.module}::{self.name}" if self.module else self.name


@dataclass(frozen=True, slots=True)
class Export:
    """One export. parameters: how many a function takes; None where it is not known."""

    name: str
    kind: str
    parameters: int | None = None


@dataclass(frozen=True, slots=True)
class Interface:
    """What a module or component asks of the world and offers to it."""

    imports: tuple[Import, ...] = ()
    exports: tuple[Export, ...] = ()
    custom: tuple[str, ...] = ()

    def function(self, name: str) -> Export | None:
        """The exported function of this name."""
        return next((export for export in self.exports if (export.name, export.kind) == (name, "function")), None)


def read(file: int) -> Interface:
    """Read the interface of the module or component behind a descriptor.

    file: opened for reading; its offset is neither used nor moved.
    Raises InvalidArgument if the sections cannot be followed; a fault in the code itself
    is for the engine to find.
    """
    head = os.pread(file, 8, 0)
    try:
        return _core(file) if head[6:8] == b"\0\0" else _component(file)
    except (IndexError, UnicodeDecodeError):
        raise InvalidArgument("malformed WebAssembly: a section ends too early") from None


class _Bytes:
    """A section's bytes and a position in them."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def byte(self) -> int:
        value = self.data[self.at]
        self.at += 1
        return value

    def number(self) -> int:
        """An unsigned LEB128 number of up to 32 bits."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return value
            shift += 7
            if shift > 28:
                _malformed("a number of over 32 bits")

    def name(self) -> str:
        length = self.number()
        text = self.data[self.at : self.at + length]
        if len(text) != length:
            raise IndexError
        self.at += length
        return text.decode()

    def skip_types(self) -> int:
        """Pass over a vector of value types; return its length."""
        length = self.number()
        for _ in range(length):
            if self.byte() in _REFERENCES:
                self.number()
        return length


def _sections(file: int) -> Iterator[tuple[int, int, int]]:
    """The (id, offset, size) of each section."""
    offset, end = 8, os.fstat(file).st_size
    while offset < end:
        head = _Bytes(os.pread(file, 6, offset))
        kind, size = head.byte(), head.number()
        offset += head.at
        if offset + size > end:
            _malformed("a section is longer than the file")
        yield kind, offset, size
        offset += size


def _load(file: int, offset: int, size: int) -> _Bytes:
    if size > _MAX_SECTION:
        _malformed(f"a section of {size} bytes")
    return _Bytes(os.pread(file, size, offset))


def _core(file: int) -> Interface:
    types: list[int] | None = []
    functions: list[int] = []
    imports: list[Import] = []
    exports: tuple[Export, ...] = ()
    custom: list[str] = []
    for kind, offset, size in _sections(file):
        if kind == _CUSTOM:
            custom.append(_Bytes(os.pread(file, min(size, 256), offset)).name())
        elif kind == _TYPE:
            types = _types(_load(file, offset, size))
        elif kind == _IMPORT:
            imports, functions = _imports(_load(file, offset, size))
        elif kind == _FUNCTION:
            section = _load(file, offset, size)
            functions += [section.number() for _ in range(section.number())]
        elif kind == _EXPORT:
            exports = _exports(_load(file, offset, size), types, functions)
    return Interface(tuple(imports), exports, tuple(custom))


def _types(section: _Bytes) -> list[int] | None:
    """The number of parameters of each type; None if there are types of a later proposal."""
    counts = []
    for _ in range(section.number()):
        if section.byte() != _FUNCTION_TYPE:
            return None
        counts.append(section.skip_types())
        section.skip_types()
    return counts


def _imports(section: _Bytes) -> tuple[list[Import], list[int]]:
    imports, functions = [], []
    for _ in range(section.number()):
        module, name, kind = section.name(), section.name(), section.byte()
        if kind >= len(_CORE_KINDS):
            _malformed(f"an import of kind {kind}")
        imports.append(Import(module, name, _CORE_KINDS[kind]))
        if kind == 0:
            functions.append(section.number())
        else:
            _skip_type(section, kind)
    return imports, functions


def _skip_type(section: _Bytes, kind: int) -> None:
    """Pass over the type of an imported table, memory, global or tag."""
    if kind == _TAG:
        section.number()  # its attribute
        section.number()  # its type
    if kind in (_TABLE, _GLOBAL) and section.byte() in _REFERENCES:
        section.number()
    if kind == _GLOBAL:
        section.byte()  # its mutability
    if kind in (_TABLE, _MEMORY):
        has_maximum = section.byte() & 1
        section.number()
        if has_maximum:
            section.number()


def _exports(section: _Bytes, types: list[int] | None, functions: list[int]) -> tuple[Export, ...]:
    exports = []
    for _ in range(section.number()):
        name, kind, index = section.name(), section.byte(), section.number()
        if kind >= len(_CORE_KINDS):
            _malformed(f"an export of kind {kind}")
        parameters = types[functions[index]] if kind == 0 and types is not None else None
        exports.append(Export(name, _CORE_KINDS[kind], parameters))
    return tuple(exports)


def _component(file: int) -> Interface:
    imports: list[Import] = []
    exports: list[Export] = []
    for count, (kind, offset, size) in enumerate(_sections(file)):
        if count > _MAX_COMPONENT_SECTIONS:
            _malformed("too many sections")
        if kind == _COMPONENT_IMPORT:
            section = _load(file, offset, size)
            imports += [_component_import(section) for _ in range(section.number())]
        elif kind == _COMPONENT_EXPORT:
            section = _load(file, offset, size)
            exports += [_component_export(section) for _ in range(section.number())]
    return Interface(tuple(imports), tuple(exports))


def _component_name(section: _Bytes) -> str:
    form, name = section.byte(), section.name()
    if form == 2:
        raise InvalidArgument("a component whose names have options is not understood")
    return name


def _component_import(section: _Bytes) -> Import:
    name = _component_name(section)
    return Import("", name, _external(section))


def _component_export(section: _Bytes) -> Export:
    name, kind = _component_name(section), section.byte()
    if kind == 0:
        section.byte()
    section.number()
    if section.byte() == 1:
        _external(section)
    return Export(name, _component_kind(kind))


def _external(section: _Bytes) -> str:
    """Pass over an external description; return its kind."""
    kind = section.byte()
    if kind == 0:
        section.byte()
        section.number()
    elif kind in (2, 3):
        # a value or type bound: equal to an index, or (0x01) of a type or any
        if section.byte() == 0 or kind == 2:
            section.number()
    else:
        section.number()
    return _component_kind(kind)


def _component_kind(kind: int) -> str:
    if kind >= len(_COMPONENT_KINDS):
        _malformed(f"an item of kind {kind}")
    return _COMPONENT_KINDS[kind]


def _malformed(what: str) -> NoReturn:
    raise InvalidArgument(f"malformed WebAssembly: {what}")
