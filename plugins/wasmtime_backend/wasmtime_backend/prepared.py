"""Engines and linkers: the same for every guest, so made before the forks, which share them.

Neither starts a thread or holds a lock. They are made when the backend is imported.
"""

from __future__ import annotations

import functools

import wasmtime
from wasmtime import _bindings

from pelagos_core.plugin.hookspecs import GuestExit
from wasmtime_backend import memory, stack


@functools.cache
def engine(fuel: bool, stack_size: int) -> wasmtime.Engine:
    """The engine for guests with or without a limit of fuel, for which the code differs.

    stack_size: in bytes; the code is the same.
    """
    return make_engine(fuel, stack_size, parallel=False)


def make_engine(fuel: bool, stack_size: int, *, parallel: bool) -> wasmtime.Engine:
    """parallel: compile in several threads, in a process that was not forked for one guest."""
    config = wasmtime.Config()
    config.parallel_compilation = parallel
    config.wasm_component_model = True
    config.consume_fuel = fuel
    # The one that it makes itself, for what is asynchronous, may not be smaller.
    _bindings.wasmtime_config_async_stack_size_set(config.ptr(), stack_size + stack.MARGIN)
    config.max_wasm_stack = stack_size
    memory.use(config)
    return wasmtime.Engine(config)


@functools.cache
def linker(fuel: bool, stack_size: int) -> wasmtime.Linker:
    """A linker for WASI 0.1, with a proc_exit of our own: Wasmtime's traps for codes over 125."""
    made = wasmtime.Linker(engine(fuel, stack_size))
    made.define_wasi()
    made.allow_shadowing = True
    i32 = wasmtime.ValType.i32()
    made.define_func("wasi_snapshot_preview1", "proc_exit", wasmtime.FuncType([i32], []), _proc_exit)
    made.allow_shadowing = False
    return made


def _proc_exit(code: int) -> None:
    raise GuestExit(code)


linker(False, stack.LARGEST)  # what most guests need
