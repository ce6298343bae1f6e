"""Writes the types of components as text, in WIT notation. Source: component-model, WIT.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wasmtime import component

INTEGERS: dict[type, tuple[str, int, int]] = {
    kind: (f"{'s' if is_signed else 'u'}{bits}", -(1 << bits - 1) if is_signed else 0, 1 << bits - is_signed)
    for is_signed, kinds in (
        (True, (component.S8, component.S16, component.S32, component.S64)),
        (False, (component.U8, component.U16, component.U32, component.U64)),
    )
    for kind, bits in zip(kinds, (8, 16, 32, 64), strict=True)
}
"""For each integer type: its name, its smallest value, and its largest value plus one."""

_SIMPLE: dict[type, str] = {
    component.Bool: "bool",
    component.F32: "f32",
    component.F64: "f64",
    component.Char: "char",
    component.String: "string",
    **{kind: name for kind, (name, _, _) in INTEGERS.items()},
}


@dataclass(frozen=True, slots=True)
class Case:
    """A value of a variant, enum, option or result: the case's name, and its payload or None."""

    name: str
    payload: object = None


class UnsupportedType(Exception):
    """A type whose values have no text form: a resource handle, a stream or a future."""


def cases(kind: component.ValType) -> dict[str, component.ValType | None]:
    """The cases of a variant, enum, option or result, with the types of their payloads; empty for other types."""
    if isinstance(kind, component.VariantType):
        return dict(kind.cases)
    if isinstance(kind, component.EnumType):
        return dict.fromkeys(kind.names)
    if isinstance(kind, component.OptionType):
        return {"none": None, "some": kind.payload}
    return {"ok": kind.ok, "err": kind.err} if isinstance(kind, component.ResultType) else {}


def type_name(kind: component.ValType | None) -> str:
    """A type in WIT notation; `_` for None. Raises UnsupportedType."""
    if kind is None:
        return "_"
    if type(kind) in _SIMPLE:
        return _SIMPLE[type(kind)]
    describe = _DESCRIBED.get(type(kind))
    if describe is None:
        raise UnsupportedType(type(kind).__name__.removesuffix("Type").lower())
    return describe(kind)


def _result(kind: component.ResultType) -> str:
    ok, err = kind.ok, kind.err
    if ok is None and err is None:
        return "result"
    return f"result<{type_name(ok)}{f', {type_name(err)}' if err is not None else ''}>"


def _fields(kind: component.RecordType) -> str:
    return ", ".join(f"{name}: {type_name(each)}" for name, each in kind.fields)


def _variant(kind: component.VariantType) -> str:
    listed = [name if each is None else f"{name}({type_name(each)})" for name, each in kind.cases]
    return f"variant {{{', '.join(listed)}}}"


_DESCRIBED: dict[type, Callable[[Any], str]] = {
    component.ListType: lambda kind: f"list<{type_name(kind.element)}>",
    component.TupleType: lambda kind: f"tuple<{', '.join(map(type_name, kind.elements))}>",
    component.RecordType: lambda kind: f"record {{{_fields(kind)}}}",
    component.FlagsType: lambda kind: f"flags {{{', '.join(kind.names)}}}",
    component.EnumType: lambda kind: f"enum {{{', '.join(kind.names)}}}",
    component.OptionType: lambda kind: f"option<{type_name(kind.payload)}>",
    component.ResultType: _result,
    component.VariantType: _variant,
}


def signature(name: str, kind: component.FuncType) -> str:
    """A function with its type, such as `add(x: u32, y: u32) -> u32`. Raises UnsupportedType."""
    try:
        parameters, result = kind.params, kind.result
    except TypeError as error:  # the package does not know the type
        raise UnsupportedType(str(error)) from None
    taken = ", ".join(f"{each}: {type_name(of)}" for each, of in parameters)
    return f"{name}({taken})" + (f" -> {type_name(result)}" if result is not None else "")
