"""Loads, checks and runs a core module or a component by Wasmtime's Python package."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping
from typing import TypeVar

import wasmtime
from wasmtime import component

from pelagos_core.errors import InvalidArgument
from pelagos_core.plugin.entrypoint import Entrypoint, Kind, sniff
from pelagos_core.plugin.hookspecs import Trap, UnusableCode, Workload
from pelagos_core.plugin.limits import Limits
from pelagos_core.plugin.values import Number
from wasmtime_backend import image, interface, memory, network, prepared, stack, wasi
from wasmtime_backend.component_call import ComponentCall

_NO_INSTANCE = "resource limit exceeded: instance count"
# The offset of e_flags in an ELF header (elf(5)), with which Wasmtime marks modules and components.
_ELF_FLAGS, _EF_COMPONENT = 48, b"\x02"
# In an error's message: the place in a text file, and the excerpt that follows it.
_POSITION = re.compile(r"\s*--> <anon>:(\d+):(\d+)\n.*", re.DOTALL)

_T = TypeVar("_T")
_Linked = TypeVar("_Linked")
Program = wasmtime.Module | component.Component
_PROGRAMS: dict[Kind, type[wasmtime.Module | component.Component]] = {
    Kind.MODULE: wasmtime.Module,
    Kind.COMPONENT: component.Component,
}


def compile(entrypoint: Entrypoint) -> bytearray:
    """Compile the entry point to code for `load`. Runs in a process that may have threads.

    Raises InvalidArgument if it is not valid WebAssembly.
    """
    engine = prepared.make_engine(entrypoint.limits.fuel is not None, stack.LARGEST, parallel=True)
    data, pages = _binary(entrypoint), dict[int, bytearray]()
    if entrypoint.kind is Kind.MODULE and not any(item.kind == "memory" for item in entrypoint.interface.imports):
        data, pages = image.split(data)
    return image.pack(_compiled(engine, data, entrypoint).serialize(), pages)


def load(entrypoint: Entrypoint) -> Workload:
    """Map the compiled code, or compile the module, and check it. Runs in the init process, after isolation.

    Raises InvalidArgument if it is not valid, has an unknown import, or lacks the function; UnusableCode.
    """
    # The library's WASI uses a thread pool of tokio, which would create a thread for each processor of the host.
    os.environ.setdefault("TOKIO_WORKER_THREADS", "1")
    settings = entrypoint.limits.fuel is not None, stack.size(entrypoint.limits.memory)
    engine = prepared.engine(*settings)
    memory.check(entrypoint.interface.memories, entrypoint.path)
    memory.prepare(entrypoint.allows_memory)
    program = _mapped(engine, entrypoint) if entrypoint.code else _compiled(engine, _binary(entrypoint), entrypoint)
    stack.allow(settings[1])
    if isinstance(program, component.Component):
        return _load_component(engine, program, entrypoint)
    return _load_module(prepared.linker(*settings), program, entrypoint)


def _binary(entrypoint: Entrypoint) -> bytes:
    if entrypoint.kind is not Kind.WAT:
        return entrypoint.read()
    try:
        return bytes(wasmtime.wat2wasm(entrypoint.read_text()))
    except wasmtime.WasmtimeError as error:
        raise _invalid(entrypoint, error) from None


def _compiled(engine: wasmtime.Engine, data: bytes, entrypoint: Entrypoint) -> Program:
    try:
        return _PROGRAMS[sniff(data)](engine, data)
    except wasmtime.WasmtimeError as error:
        raise _invalid(entrypoint, error) from None


def _invalid(entrypoint: Entrypoint, error: wasmtime.WasmtimeError) -> InvalidArgument:
    return InvalidArgument(f"{entrypoint.path!r} is not valid WebAssembly: {_one_line(error)}")


def _mapped(engine: wasmtime.Engine, entrypoint: Entrypoint) -> Program:
    """Map the compiled code; all processes that map it share its pages."""
    with open(entrypoint.code, "rb") as file:
        is_component = os.pread(file.fileno(), 1, _ELF_FLAGS) == _EF_COMPONENT
        runs = image.runs(file.fileno())
        if runs is None:
            raise UnusableCode("it has no list of the memory's pages")
        if runs:
            memory.prepare(entrypoint.allows_memory, os.dup(file.fileno()), runs)
    kind = Kind.COMPONENT if is_component else Kind.MODULE
    try:
        return _PROGRAMS[kind].deserialize_file(engine, entrypoint.code)
    except wasmtime.WasmtimeError as error:
        raise UnusableCode(_one_line(error)) from None


def _store(engine: wasmtime.Engine, limits: Limits) -> wasmtime.Store:
    store = wasmtime.Store(engine)
    if limits.fuel is not None:
        store.set_fuel(limits.fuel)
    return store


def _limit_tables(store: wasmtime.Store, limits: Limits) -> None:
    """Limit the growth of tables. The initial size is not limited: like that of memories, it is only address space."""
    if limits.memory is not None:
        store.set_limits(table_elements=limits.memory // 8)  # an element is a pointer


def _load_module(linker: wasmtime.Linker, module: wasmtime.Module, entrypoint: Entrypoint) -> Workload:
    store = _store(linker.engine, entrypoint.limits)
    entrypoint = entrypoint.with_compiled(wasi.IMPORTS, lambda: interface.of_module(module))
    first, call = entrypoint.calls[:-1], entrypoint.call
    linked = _linked(linker.instantiate_pre, module, entrypoint)

    def run() -> int:
        store.set_wasi(wasi.config(entrypoint))
        exports = linked.instantiate(store).exports(store)
        _limit_tables(store, entrypoint.limits)
        for name in first:
            _function(exports, name)(store)
        returned = _function(exports, call.name)(store, *call.arguments)
        return call.show(_as_list(returned)) if call.results else 0

    return lambda: _guarded(run)


def _function(exports: Mapping[str, object], name: str) -> wasmtime.Func:
    function = exports[name]
    assert isinstance(function, wasmtime.Func)
    return function


def _as_list(returned: object) -> list[Number]:
    """The results of a function as a list: the package returns a single result without a list."""
    return returned if isinstance(returned, list) else [returned]  # type: ignore[list-item]


def _linked(link: Callable[[_T], _Linked], program: _T, entrypoint: Entrypoint) -> _Linked:
    try:
        return link(program)
    except wasmtime.WasmtimeError as error:
        raise InvalidArgument(f"{entrypoint.path!r} cannot be linked: {_one_line(error)}") from None


def _load_component(engine: wasmtime.Engine, program: component.Component, entrypoint: Entrypoint) -> Workload:
    store = _store(engine, entrypoint.limits)
    linker = component.Linker(engine)
    linker.add_wasip2()
    linker.add_wasi_http()
    entrypoint = entrypoint.with_compiled(wasi.IMPORTS, lambda: interface.of_component(engine, program))
    network.refuse(linker, entrypoint)
    _linked(functools.partial(_try_to_link, engine, linker), program, entrypoint)
    called = ComponentCall.of(engine, program, entrypoint)

    def run() -> int:
        store.set_wasi(wasi.config(entrypoint))
        store.set_wasi_http()
        instance = linker.instantiate(store, program)
        _limit_tables(store, entrypoint.limits)
        return called.run(store, instance)

    return lambda: _guarded(run)


def _try_to_link(engine: wasmtime.Engine, linker: component.Linker, program: component.Component) -> None:
    """Compare the types of all imports without running guest code: the limit forbids instances of core modules."""
    store = wasmtime.Store(engine)
    store.set_limits(instances=0)
    try:
        linker.instantiate(store, program)
    except wasmtime.WasmtimeError as error:
        if _NO_INSTANCE not in str(error):
            raise


def _guarded(run: Workload) -> int:
    """Run the guest and return its exit code. Raises GuestExit and Trap."""
    try:
        return run()
    except wasmtime.ExitTrap as error:
        return error.code
    except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
        raise Trap(str(error)) from None


def _one_line(error: Exception) -> str:
    """An error's message and its causes on one line, without the excerpt of a text file."""
    message = _POSITION.sub(r" (line \1, column \2)", str(error))
    lines = (line.strip() for line in message.splitlines())
    return ": ".join(line for line in lines if line and line != "Caused by:")
