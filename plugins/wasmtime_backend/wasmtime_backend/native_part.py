"""Finds the backend's native part, and checks that it fits the installed version of Wasmtime.

The native part declares Wasmtime's C API by hand (native/wasmtime.h). The package `wasmtime` contains declarations that
are generated for its library. The two are compared here before the native part is used.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from wasmtime import _bindings, _ffi

from pelagos_core.errors import FailedPrecondition
from pelagos_core.plugin.hookspecs import NativePart

LIBRARY = Path(__file__).parent / "bin" / "engine.so"

# Types have the same word here if C passes them in the same way. Blanks and `_t` are removed from C's type names.
_WORDS = {
    None: "void",
    ctypes.c_bool: "bool",
    ctypes.c_char: "char",
    ctypes.c_int: "int",
    ctypes.c_int64: "int64",
    ctypes.c_size_t: "size",  # and uint64_t, which is the same class
    ctypes.c_uint8: "uint8",
    ctypes.c_uint32: "uint32",
    ctypes.c_void_p: "void*",
}
_SAME = {"uint64": "size", "finalizer": "void(void*)"}


class _Layout(ctypes.Structure):
    """The size of a type, or the offset of a field. Like the next two classes, a row of a table in native/abi.c."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("field", ctypes.c_char_p),
        ("offset", ctypes.c_size_t),
        ("size", ctypes.c_size_t),
    )


class _Prototype(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("result", ctypes.c_char_p), ("parameters", ctypes.c_char_p))


class _Constant(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("value", ctypes.c_size_t))


def find() -> NativePart:
    """The native part. Call it on the host. Raises FailedPrecondition if it is missing or does not fit."""
    check(LIBRARY)
    return NativePart.of(str(LIBRARY), str(_ffi.filename))


def check(library: Path) -> None:
    """Compare the declarations of a native part with those of the package. Raises FailedPrecondition."""
    if not library.exists():
        raise FailedPrecondition("it is not compiled")
    part = ctypes.CDLL(str(library))
    written_for, version = _text(part, "pelagos_written_for"), metadata.version("wasmtime")
    if version.split(".")[:2] != written_for.split("."):
        raise FailedPrecondition(f"it was made for Wasmtime {written_for}, this is {version}")
    difference = next(_differences(part), "")
    if difference:
        raise FailedPrecondition(f"it does not fit Wasmtime {version}: {difference}")


def _differences(part: ctypes.CDLL) -> Iterator[str]:
    """Yield the differences, in C notation."""
    for row in _rows(part, "pelagos_layouts", _Layout):
        name, field = row.name.decode(), row.field.decode()
        yield from _difference(f"{name} {field}".strip(), f"{row.size} bytes at {row.offset}", _layout(name, field))
    words = dict(_SAME)
    for row in _rows(part, "pelagos_callbacks", _Prototype):
        name = row.name.decode()
        # The package declares a number instead of the pointer that a callback returns.
        written = words[name.removesuffix("_t")] = _written("size_t", row.parameters.decode(), words)
        yield from _difference(name, written, _word(getattr(_bindings, name, None)))
    for row in _rows(part, "pelagos_prototypes", _Prototype):
        name = row.name.decode()
        yield from _difference(name, _written(row.result.decode(), row.parameters.decode(), words), _declared(name))
    for row in _rows(part, "pelagos_constants", _Constant):
        name = row.name.decode()
        yield from _difference(name, row.value, getattr(getattr(_ffi, name, None), "value", None))


def _difference(what: str, written: object, declared: object) -> Iterator[str]:
    if written != declared:
        yield f"{what} is {written}, and in the package {declared or 'missing'}"


def _rows(part: ctypes.CDLL, table: str, row: type[ctypes.Structure]) -> Iterator[Any]:
    address = ctypes.addressof(ctypes.c_char.in_dll(part, table))
    while (found := row.from_address(address)).name:
        yield found
        address += ctypes.sizeof(row)


def _text(part: ctypes.CDLL, name: str) -> str:
    return ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(part, name))).decode()


def _layout(name: str, path: str) -> str:
    """The size and offset of a field in the package, or the size of a type; empty if the package lacks it."""
    kind, offset = getattr(_bindings, name, None), 0
    for field in path.split(".") if path else ():
        kinds = {each: kind for each, kind, *_ in getattr(kind, "_fields_", ())}
        if field not in kinds:
            return ""
        offset += getattr(kind, field).offset
        kind = kinds[field]
    return f"{ctypes.sizeof(kind)} bytes at {offset}" if kind else ""


def _written(result: str, parameters: str, words: dict[str, str]) -> str:
    """The type of a function in C's source, as one word."""
    kinds = [_c_word(each, words) for each in parameters.strip("()").split(",") if each != "void"]
    return f"{_c_word(result, words)}({','.join(kinds)})"


def _c_word(text: str, words: dict[str, str]) -> str:
    whole = text.replace("const ", "").replace(" ", "")
    name = whole.rstrip("*")
    plain = name.removesuffix("_t")
    return words.get(plain, plain) + whole[len(name) :]


def _declared(name: str) -> str:
    """The type of a function in the package, as one word; empty if the package lacks it."""
    function = getattr(_bindings, f"_{name}", None)
    return _signature(function.restype, function.argtypes) if function is not None else ""


def _signature(result: object, parameters: Iterable[object]) -> str:
    return f"{_word(result)}({','.join(map(_word, parameters))})"


def _word(kind: Any) -> str:  # noqa: ANN401 (a class of ctypes)
    if kind in _WORDS:
        return _WORDS[kind]
    if hasattr(kind, "_argtypes_"):
        return _signature(kind._restype_, kind._argtypes_)
    if issubclass(kind, ctypes._Pointer):
        return f"{_word(kind._type_)}*"
    return str(kind.__name__).removesuffix("_t")
