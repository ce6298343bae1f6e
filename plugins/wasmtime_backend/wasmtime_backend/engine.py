"""Load, check and run: a core module or a component, to an exit code."""

from __future__ import annotations

import re

import wasmtime
from wasmtime import component

from pelagos_core.entrypoint import Entrypoint, Kind, sniff
from pelagos_core.errors import InvalidArgument
from pelagos_core.hookspecs import Trap, UnusableCode, Workload
from pelagos_core.limits import Limits
from wasmtime_backend import prepared, wasi

_RUN = re.compile(r"wasi:cli/run@0\.2\.\d+\Z")
# The packages of WASI 0.2 that `component.Linker.add_wasip2` defines.
_WASI_IMPORT = re.compile(r"wasi:(cli|clocks|filesystem|io|random|sockets)/[a-z-]+@0\.2\.\d+\Z")
# Where an ELF header has its processor's flags (elf(5), e_flags), in which Wasmtime says what it is.
_ELF_FLAGS, _EF_COMPONENT = 48, b"\x02"

Program = wasmtime.Module | component.Component
_PROGRAMS: dict[Kind, type[wasmtime.Module | component.Component]] = {
    Kind.MODULE: wasmtime.Module,
    Kind.COMPONENT: component.Component,
}


def compile(entrypoint: Entrypoint) -> bytearray:
    """Compile the entry point for `load`. In a process that may have threads.

    Raises InvalidArgument: not valid.
    """
    return _compiled(prepared.make_engine(entrypoint.limits.fuel is not None, parallel=True), entrypoint).serialize()


def load(entrypoint: Entrypoint) -> Workload:
    """Get the code and check it. In the init process, after isolation.

    Raises InvalidArgument: not valid, an unknown import, no such export. UnusableCode.
    """
    engine = prepared.engine(entrypoint.limits.fuel is not None)
    program = _mapped(engine, entrypoint) if entrypoint.code else _compiled(engine, entrypoint)
    if isinstance(program, component.Component):
        return _load_component(engine, program, entrypoint)
    return _load_module(engine, program, entrypoint)


def _compiled(engine: wasmtime.Engine, entrypoint: Entrypoint) -> Program:
    data = entrypoint.read()
    try:
        if entrypoint.kind is Kind.WAT:
            data = bytes(wasmtime.wat2wasm(data.decode("utf-8", "replace")))
        return _PROGRAMS[sniff(data)](engine, data)
    except wasmtime.WasmtimeError as error:
        raise InvalidArgument(f"{entrypoint.path!r} is not valid WebAssembly: {_one_line(error)}") from None


def _mapped(engine: wasmtime.Engine, entrypoint: Entrypoint) -> Program:
    """What `compile` has made, its pages shared with every other process that maps it."""
    with open(entrypoint.code, "rb") as file:
        is_component = file.read(_ELF_FLAGS + 1)[-1:] == _EF_COMPONENT
    kind = Kind.COMPONENT if is_component else Kind.MODULE
    try:
        return _PROGRAMS[kind].deserialize_file(engine, entrypoint.code)
    except wasmtime.WasmtimeError as error:
        raise UnusableCode(_one_line(error)) from None


def _store(engine: wasmtime.Engine, limits: Limits) -> wasmtime.Store:
    store = wasmtime.Store(engine)
    if limits.memory is not None:
        # An element of a table takes a pointer.
        store.set_limits(memory_size=limits.memory, table_elements=limits.memory // 8)
    if limits.fuel is not None:
        store.set_fuel(limits.fuel)
    return store


def _load_module(engine: wasmtime.Engine, module: wasmtime.Module, entrypoint: Entrypoint) -> Workload:
    store = _store(engine, entrypoint.limits)
    linker = prepared.linker(entrypoint.limits.fuel is not None)
    name = entrypoint.func or "_start"
    _check_imports(store, linker, module, entrypoint)
    _check_export(module, name, entrypoint)

    def run() -> int:
        store.set_wasi(wasi.config(entrypoint))
        exports = linker.instantiate(store, module).exports(store)
        function = exports[name]
        assert isinstance(function, wasmtime.Func)
        function(store)
        return 0

    return lambda: _guarded(run)


def _check_imports(
    store: wasmtime.Store, linker: wasmtime.Linker, module: wasmtime.Module, entrypoint: Entrypoint
) -> None:
    for item in module.imports:
        try:
            linker.get(store, item.module, item.name or "")
        except wasmtime.WasmtimeError:
            raise InvalidArgument(f"{entrypoint.path!r} has an unknown import: {item.module}::{item.name}") from None


def _check_export(module: wasmtime.Module, name: str, entrypoint: Entrypoint) -> None:
    kind = {export.name: export.type for export in module.exports}.get(name)
    if not isinstance(kind, wasmtime.FuncType):
        raise InvalidArgument(f"{entrypoint.path!r} exports no function {name!r}")
    if kind.params:
        raise InvalidArgument(f"{entrypoint.path!r}: function {name!r} takes arguments, so it cannot be an entry point")


def _load_component(engine: wasmtime.Engine, program: component.Component, entrypoint: Entrypoint) -> Workload:
    store = _store(engine, entrypoint.limits)
    linker = component.Linker(engine)
    linker.add_wasip2()
    for name in program.type.imports(engine):
        if not _WASI_IMPORT.match(name):
            raise InvalidArgument(f"{entrypoint.path!r} has an unknown import: {name}")
    interface = next(filter(_RUN.match, program.type.exports(engine)), None)
    if entrypoint.func:
        raise InvalidArgument(f"{entrypoint.path!r} is a component: '#{entrypoint.func}' works with core modules only")
    if interface is None:
        raise InvalidArgument(f"{entrypoint.path!r} is not a command: it does not export wasi:cli/run")

    def run() -> int:
        store.set_wasi(wasi.config(entrypoint))
        instance = linker.instantiate(store, program)
        index = instance.get_export_index(store, "run", instance.get_export_index(store, interface))
        function = instance.get_func(store, index) if index else None
        assert function is not None  # wasi:cli/run has just this one function
        return 0 if _is_ok(function(store)) else 1

    return lambda: _guarded(run)


def _is_ok(result: object) -> bool:
    """`wasi:cli/run.run` returns a bare `result`: ok or error, and no more."""
    return getattr(result, "tag", "ok") == "ok"


def _guarded(run: Workload) -> int:
    """Run the guest to its exit code. Raises GuestExit and Trap."""
    try:
        return run()
    except wasmtime.ExitTrap as error:
        return error.code
    except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
        raise Trap(str(error)) from None


def _one_line(error: Exception) -> str:
    lines = (line.strip() for line in str(error).splitlines())
    return ": ".join(line for line in lines if line and line != "Caused by:")
