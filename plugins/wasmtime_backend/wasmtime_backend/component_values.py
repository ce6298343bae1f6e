"""Calls a component's function: converts values of `wave` to those of Wasmtime's C API, and results back.

The Python package's own conversion selects the case of a variant by the class of its value, so it confuses a bool with
a number. Memory is not freed: a process calls one function and exits.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import wasmtime
from wasmtime import _bindings, _ffi, component
from wasmtime.component import _enter

from wasmtime_backend import wit

# For each type whose value is one field in C: the kind of the value, and the field's name.
_PLAIN: dict[type, tuple[ctypes.c_uint8, str]] = {
    component.Bool: (_ffi.WASMTIME_COMPONENT_BOOL, "boolean"),
    component.S8: (_ffi.WASMTIME_COMPONENT_S8, "s8"),
    component.U8: (_ffi.WASMTIME_COMPONENT_U8, "u8"),
    component.S16: (_ffi.WASMTIME_COMPONENT_S16, "s16"),
    component.U16: (_ffi.WASMTIME_COMPONENT_U16, "u16"),
    component.S32: (_ffi.WASMTIME_COMPONENT_S32, "s32"),
    component.U32: (_ffi.WASMTIME_COMPONENT_U32, "u32"),
    component.S64: (_ffi.WASMTIME_COMPONENT_S64, "s64"),
    component.U64: (_ffi.WASMTIME_COMPONENT_U64, "u64"),
    component.F32: (_ffi.WASMTIME_COMPONENT_F32, "f32"),
    component.F64: (_ffi.WASMTIME_COMPONENT_F64, "f64"),
}
_FIELDS = {kind.value: field for kind, field in _PLAIN.values()}


def call(
    store: wasmtime.Store, function: component.Func, types: Sequence[component.ValType], values: Sequence[object]
) -> object:
    """Call a function with values of these types; return its result, None if it has none.

    Raises the package's exceptions for a trap or an exit.
    """
    given = (_bindings.wasmtime_component_val_t * len(values))()
    for slot, kind, value in zip(given, types, values, strict=True):
        _lower(kind, value, slot)
    has_result = function.type(store).result is not None
    returned = _bindings.wasmtime_component_val_t()

    def run() -> Any:  # noqa: ANN401 (a pointer of ctypes)
        return _ffi.wasmtime_component_func_call(
            ctypes.byref(function._func), store._context(), given, len(values), ctypes.byref(returned), int(has_result)
        )

    _enter.enter_wasm(run)
    return _lift(returned) if has_result else None


def _lower(kind: component.ValType, value: Any, to: Any) -> None:  # noqa: ANN401 (a value by its type, and a C structure)
    plain = _PLAIN.get(type(kind))
    if plain:
        to.kind = plain[0]
        setattr(to.of, plain[1], value)
    else:
        to.kind, lower = _LOWERED[type(kind)]
        lower(kind, value, to.of)


def _lower_string(_: component.String, value: str, to: Any) -> None:  # noqa: ANN401 (a C structure)
    to.string = _ffi.str_to_capi(value)


def _lower_char(_: component.Char, value: str, to: Any) -> None:  # noqa: ANN401 (a C structure)
    to.character = ord(value)


def _lower_list(kind: component.ListType, value: list[object], to: Any) -> None:  # noqa: ANN401 (a C structure)
    _ffi.wasmtime_component_vallist_new_uninit(ctypes.byref(to.list), len(value))
    element = kind.element
    for index, each in enumerate(value):
        _lower(element, each, to.list.data[index])


def _lower_tuple(kind: component.TupleType, value: tuple[object, ...], to: Any) -> None:  # noqa: ANN401 (a C structure)
    _ffi.wasmtime_component_valtuple_new_uninit(ctypes.byref(to.tuple), len(value))
    for index, (element, each) in enumerate(zip(kind.elements, value, strict=True)):
        _lower(element, each, to.tuple.data[index])


def _lower_record(kind: component.RecordType, value: dict[str, object], to: Any) -> None:  # noqa: ANN401 (a C structure)
    fields = kind.fields
    _ffi.wasmtime_component_valrecord_new_uninit(ctypes.byref(to.record), len(fields))
    for index, (name, element) in enumerate(fields):
        to.record.data[index].name = _ffi.str_to_capi(name)
        _lower(element, value[name], to.record.data[index].val)


def _lower_flags(_: component.FlagsType, value: set[str], to: Any) -> None:  # noqa: ANN401 (a C structure)
    _ffi.wasmtime_component_valflags_new_uninit(ctypes.byref(to.flags), len(value))
    for index, name in enumerate(sorted(value)):
        to.flags.data[index] = _ffi.str_to_capi(name)


def _lower_enum(_: component.EnumType, value: wit.Case, to: Any) -> None:  # noqa: ANN401 (a C structure)
    to.enumeration = _ffi.str_to_capi(value.name)


def _lower_option(kind: component.OptionType, value: wit.Case, to: Any) -> None:  # noqa: ANN401 (a C structure)
    to.option = _payload(kind, value)


def _lower_result(kind: component.ResultType, value: wit.Case, to: Any) -> None:  # noqa: ANN401 (a C structure)
    to.result.is_ok, to.result.val = value.name == "ok", _payload(kind, value)


def _lower_variant(kind: component.VariantType, value: wit.Case, to: Any) -> None:  # noqa: ANN401 (a C structure)
    to.variant.discriminant, to.variant.val = _ffi.str_to_capi(value.name), _payload(kind, value)


def _payload(kind: component.ValType, value: wit.Case) -> Any:  # noqa: ANN401 (a pointer of ctypes)
    of = wit.cases(kind)[value.name]
    if of is None:
        return None
    one = _bindings.wasmtime_component_val_t()
    _lower(of, value.payload, one)
    return _ffi.wasmtime_component_val_new(ctypes.byref(one))


_LOWERED: dict[type, tuple[ctypes.c_uint8, Callable[[Any, Any, Any], None]]] = {
    component.Char: (_ffi.WASMTIME_COMPONENT_CHAR, _lower_char),
    component.String: (_ffi.WASMTIME_COMPONENT_STRING, _lower_string),
    component.ListType: (_ffi.WASMTIME_COMPONENT_LIST, _lower_list),
    component.TupleType: (_ffi.WASMTIME_COMPONENT_TUPLE, _lower_tuple),
    component.RecordType: (_ffi.WASMTIME_COMPONENT_RECORD, _lower_record),
    component.FlagsType: (_ffi.WASMTIME_COMPONENT_FLAGS, _lower_flags),
    component.EnumType: (_ffi.WASMTIME_COMPONENT_ENUM, _lower_enum),
    component.OptionType: (_ffi.WASMTIME_COMPONENT_OPTION, _lower_option),
    component.ResultType: (_ffi.WASMTIME_COMPONENT_RESULT, _lower_result),
    component.VariantType: (_ffi.WASMTIME_COMPONENT_VARIANT, _lower_variant),
}


def _lift(of: Any) -> object:  # noqa: ANN401 (a C structure)
    field = _FIELDS.get(of.kind)
    return getattr(of.of, field) if field else _LIFTED[of.kind](of.of)


def _lift_record(record: Any) -> dict[str, object]:  # noqa: ANN401 (a C structure)
    entries = (record.data[index] for index in range(record.size))
    return {_ffi.to_str(entry.name): _lift(entry.val) for entry in entries}


def _lift_all(values: Any) -> list[object]:  # noqa: ANN401 (a C structure)
    return [_lift(values.data[index]) for index in range(values.size)]


def _case(name: str, payload: Any) -> wit.Case:  # noqa: ANN401 (a pointer of ctypes)
    return wit.Case(name, _lift(payload.contents) if payload else None)


_LIFTED: dict[int, Callable[[Any], object]] = {
    _ffi.WASMTIME_COMPONENT_CHAR.value: lambda of: chr(of.character),
    _ffi.WASMTIME_COMPONENT_STRING.value: lambda of: _ffi.to_str(of.string),
    _ffi.WASMTIME_COMPONENT_LIST.value: lambda of: _lift_all(of.list),
    _ffi.WASMTIME_COMPONENT_TUPLE.value: lambda of: tuple(_lift_all(of.tuple)),
    _ffi.WASMTIME_COMPONENT_RECORD.value: lambda of: _lift_record(of.record),
    _ffi.WASMTIME_COMPONENT_FLAGS.value: lambda of: {_ffi.to_str(of.flags.data[i]) for i in range(of.flags.size)},
    _ffi.WASMTIME_COMPONENT_ENUM.value: lambda of: wit.Case(_ffi.to_str(of.enumeration)),
    _ffi.WASMTIME_COMPONENT_OPTION.value: lambda of: _case("some" if of.option else "none", of.option),
    _ffi.WASMTIME_COMPONENT_RESULT.value: lambda of: _case("ok" if of.result.is_ok else "err", of.result.val),
    _ffi.WASMTIME_COMPONENT_VARIANT.value: lambda of: _case(_ffi.to_str(of.variant.discriminant), of.variant.val),
}
