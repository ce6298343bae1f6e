"""Engines and linkers. They are the same for every guest, so they are created once, before the forks.

They are created when the backend is imported. Neither starts a thread or holds a lock.
"""

from __future__ import annotations

import functools

import wasmtime
from wasmtime import _bindings

from pelagos_core.plugin.hookspecs import GuestExit
from wasmtime_backend import memory, stack


@functools.cache
def engine(fuel: bool, stack_size: int) -> wasmtime.Engine:
    """The cached engine for guests.

    fuel: whether the guest has a limit of fuel; the compiled code differs.
    stack_size: in bytes; it does not affect the code.
    """
    return make_engine(fuel, stack_size, parallel=False)


def make_engine(fuel: bool, stack_size: int, *, parallel: bool) -> wasmtime.Engine:
    """Create an engine; `fuel` and `stack_size` are as for `engine`.

    parallel: whether to compile in several threads; only in a process that is not forked for a guest.
    """
    config = wasmtime.Config()
    config.parallel_compilation = parallel
    config.wasm_component_model = True
    config.consume_fuel = fuel
    # Wasmtime requires that its stack for asynchronous calls is not smaller.
    _bindings.wasmtime_config_async_stack_size_set(config.ptr(), stack_size + stack.MARGIN)
    config.max_wasm_stack = stack_size
    memory.use(config)
    return wasmtime.Engine(config)


@functools.cache
def linker(fuel: bool, stack_size: int) -> wasmtime.Linker:
    """The cached linker for WASI 0.1. It replaces proc_exit: Wasmtime's function traps for codes above 125."""
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
