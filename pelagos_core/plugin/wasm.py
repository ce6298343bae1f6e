"""Reads the imports and exports of a WebAssembly binary from its sections, without an engine.

The bytes are untrusted. The code section is never read, so the cost does not grow with its size.
Source: core specification, "Binary Format"; component-model, Binary.md.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from pelagos_core.errors import InvalidArgument
from pelagos_core.plugin.interface import UNKNOWN, Export, Import, Interface, signature
from pelagos_core.plugin.sections import MAX_READ, NotUnderstood, Section, load, malformed, sections

_TABLE, _MEMORY, _GLOBAL, _TAG = 1, 2, 3, 4
_CORE_KINDS = ("function", "table", "memory", "global", "tag")
_COMPONENT_KINDS = ("core", "function", "value", "type", "component", "instance")
_CUSTOM, _TYPE, _IMPORT, _FUNCTION, _OWN_MEMORY, _EXPORT, _CODE = 0, 1, 2, 3, 5, 7, 10
# The order of the sections in a core module: data count (12) precedes code, tag (13) precedes global.
_ORDER = {kind: place for place, kind in enumerate((1, 2, 3, 4, 5, 13, 6, 7, 8, 9, 12, 10, 11))}
_CORE_VERSION, _COMPONENT_VERSION = b"\1\0", b"\x0d\0"
_COMPONENT_IMPORT, _COMPONENT_EXPORT = 10, 11
# Imports of proposals: custom descriptors (an exact function), compact import section.
_LATER_KINDS = (0x20, 0x7E, 0x7F)
_PLAIN_NAMES = (0, 1)  # the first byte of the name of a component's import or export; 2: a name with options
_PAGE_POWER = 16  # a page of a memory has 64 KiB, or a smaller power of two
_FUNCTION_TYPE, _REFERENCES = 0x60, (0x63, 0x64)  # a reference type is followed by the type that it refers to
_VALUE_TYPES = {0x7F: "i32", 0x7E: "i64", 0x7D: "f32", 0x7C: "f64", 0x7B: "v128", 0x70: "funcref", 0x6F: "externref"}
_HAS_MAXIMUM, _IS_SHARED, _HAS_PAGE_SIZE = 1, 2, 8  # flags of a table's or memory's limits
_LEB128 = re.compile(rb"[\x80-\xff]*[\x00-\x7f]")
_MAX_FUNCTIONS = 1_000_000  # more than an engine accepts
_MAX_VALUES = 1000  # parameters or results of a function


def read(file: int) -> Interface:
    """Read the interface of the module or component behind a descriptor.

    file: a descriptor opened for reading; its offset is neither used nor changed.
    Returns UNKNOWN if the file uses a proposal that core does not understand.
    Raises InvalidArgument if the sections are malformed. Faults in the code are not found here:
    the engine reports them.
    """
    head = os.pread(file, 8, 0)
    is_component = head[6:8] != b"\0\0"
    if head[4:6] != (_COMPONENT_VERSION if is_component else _CORE_VERSION):
        malformed(f"version {int.from_bytes(head[4:6], 'little')} of the format is not known")
    try:
        return _component(file) if is_component else _core(file)
    except NotUnderstood:
        return UNKNOWN
    except UnicodeDecodeError:
        raise InvalidArgument("not valid WebAssembly: a name is not UTF-8") from None
    except IndexError:
        raise InvalidArgument("not valid WebAssembly: a section is too short for what it claims") from None


def _core(file: int) -> Interface:
    types: list[str] | None = []
    imported: list[int] = []
    defined: Sequence[int] = ()
    imports: tuple[Import, ...] = ()
    exports: tuple[Export, ...] = ()
    custom: list[str] = []
    bodies = last = 0
    memories: tuple[tuple[int, ...], bool] = ((), False)
    for kind, offset, size in sections(file):
        if kind == _CUSTOM:
            custom.append(_custom_name(Section(os.pread(file, min(size, 256), offset)), size))
            continue
        last = _checked_order(kind, last)
        if kind == _TYPE:
            types = _types(load(file, offset, size))
        elif kind == _IMPORT:
            imports, imported = _imports(load(file, offset, size), types)
        elif kind == _FUNCTION:
            defined = _numbers(load(file, offset, size))
        elif kind == _OWN_MEMORY:
            memories = _memories(load(file, offset, size))
        elif kind == _EXPORT:
            exports = _exports(load(file, offset, size), types, imported, defined)
        elif kind == _CODE:
            bodies = Section(os.pread(file, min(size, 5), offset)).number()
    if bodies != len(defined):
        malformed(f"{len(defined)} functions are declared, and {bodies} have code")
    return Interface(imports, exports, tuple(custom), memories=memories[0], has_shared_memory=memories[1])


def _custom_name(section: Section, size: int) -> str:
    """The name of a custom section, from its first bytes; a long name is cut. size: of the whole section."""
    length = section.number()
    if section.at + length > size:
        raise IndexError
    name = section.data[section.at : section.at + length]
    return name.decode("utf-8", "strict" if len(name) == length else "ignore")


def _checked_order(kind: int, last: int) -> int:
    """The place of a section in the required order. last: the place of the previous one; 0 if there is none.

    Raises InvalidArgument if the section does not follow the previous one in that order.
    """
    place = _ORDER.get(kind, -1) + 1
    if place <= last:
        malformed(f"a section of kind {kind} where none may be")
    return place


def _types(section: Section) -> list[str] | None:
    """The signatures of the function types; None if there are types of a proposal that core does not understand."""
    types = []
    for _ in range(section.count()):
        if section.byte() != _FUNCTION_TYPE:
            return None
        types.append(signature(_value_types(section), _value_types(section)))
    return types


def _value_types(section: Section) -> list[str]:
    """The names of a vector of value types."""
    names = list[str]()
    for _ in range(section.count(_MAX_VALUES)):
        kind = section.byte()
        if kind in _REFERENCES:
            section.skip_number()
        names.append(_VALUE_TYPES.get(kind, "ref"))
    return names


def _numbers(section: Section) -> Sequence[int]:
    """A vector of LEB128 numbers. A module may have a million functions, so no loop in Python visits each byte."""
    length, data = section.count(_MAX_FUNCTIONS), section.data[section.at :]
    if length == len(data) and data.isascii():
        return data
    # If the last number had no end, the pattern would search for it from each of its bytes: quadratic time.
    found: list[bytes] = _LEB128.findall(data) if data[-1:].isascii() else []
    if len(found) != length or (data and not found):
        raise IndexError
    return [Section(number).number() if len(number) > 1 else number[0] for number in found]


def _imports(section: Section, types: list[str] | None) -> tuple[tuple[Import, ...], list[int]]:
    """The imports, and the type index of each imported function."""
    imports, functions = [], []
    for _ in range(section.count()):
        module, name, kind = section.name(), section.name(), section.byte()
        if kind in _LATER_KINDS:
            raise NotUnderstood
        if kind >= len(_CORE_KINDS):
            malformed(f"an import of kind {kind}")
        of_type = ""
        if kind:
            _skip_type(section, kind)
        else:
            functions.append(section.number())
            of_type = "" if types is None else types[functions[-1]]
        imports.append(Import(module, name, _CORE_KINDS[kind], of_type))
    return tuple(imports), functions


def _skip_type(section: Section, kind: int) -> None:
    """Skip the type of an imported table, memory, global or tag."""
    if kind == _TAG:
        section.number()  # its attribute
        section.number()  # its type
    if kind in (_TABLE, _GLOBAL) and section.byte() in _REFERENCES:
        section.skip_number()
    if kind == _GLOBAL:
        section.byte()  # its mutability
    if kind in (_TABLE, _MEMORY):
        flags = section.byte()
        for flag in (0, _HAS_MAXIMUM, _HAS_PAGE_SIZE):
            if flags & flag == flag:
                section.skip_number()


def _memories(section: Section) -> tuple[tuple[int, ...], bool]:
    """The initial size of each memory in bytes, and whether one is shared."""
    sizes, all_flags = [], 0
    for _ in range(section.count()):
        flags, pages = section.byte(), section.number(64)
        all_flags |= flags
        if flags & _HAS_MAXIMUM:
            section.number(64)
        power = section.number() if flags & _HAS_PAGE_SIZE else _PAGE_POWER
        if power > _PAGE_POWER:
            malformed(f"a memory with pages of 2^{power} bytes")
        sizes.append(pages << power)
    return tuple(sizes), bool(all_flags & _IS_SHARED)


def _exports(
    section: Section, types: list[str] | None, imported: Sequence[int], defined: Sequence[int]
) -> tuple[Export, ...]:
    exports = []
    for _ in range(section.count()):
        name, kind, index = section.name(), section.byte(), section.number()
        if kind >= len(_CORE_KINDS):
            malformed(f"an export of kind {kind}")
        of_type = ""
        if kind == 0:
            number = imported[index] if index < len(imported) else defined[index - len(imported)]
            of_type = "" if types is None else types[number]
        exports.append(Export(name, _CORE_KINDS[kind], of_type))
    return tuple(exports)


def _component(file: int) -> Interface:
    imports: list[Import] = []
    exports: list[Export] = []
    for kind, offset, size in sections(file):
        if kind not in (_COMPONENT_IMPORT, _COMPONENT_EXPORT):
            continue
        section = load(file, offset, size)
        if kind == _COMPONENT_IMPORT:
            imports += [_component_import(section) for _ in range(section.count())]
        else:
            exports += [_component_export(section) for _ in range(section.count())]
        if len(imports) + len(exports) > MAX_READ:
            raise NotUnderstood
    return Interface(tuple(imports), tuple(exports), is_component=True)


def _component_name(section: Section) -> str:
    if section.byte() not in _PLAIN_NAMES:
        raise NotUnderstood
    return section.name()


def _component_import(section: Section) -> Import:
    return Import("", _component_name(section), _external(section))


def _component_export(section: Section) -> Export:
    name, kind = _component_name(section), section.byte()
    if kind == 0:
        section.byte()
    section.number()
    if section.byte() == 1:
        _external(section)
    return Export(name, _component_kind(kind))


def _external(section: Section) -> str:
    """Skip an external description; return its kind."""
    kind = section.byte()
    if kind == 0:
        section.byte()
        section.number()
    elif kind in (2, 3):
        # a value or type bound: equal to an index, or (0x01) of a type or any
        is_any = section.byte() == 1
        if not is_any or kind == 2:
            section.number()
        if is_any and kind == 3:
            return "resource"
    else:
        section.number()
    return _component_kind(kind)


def _component_kind(kind: int) -> str:
    if kind >= len(_COMPONENT_KINDS):
        malformed(f"an item of kind {kind}")
    return _COMPONENT_KINDS[kind]
