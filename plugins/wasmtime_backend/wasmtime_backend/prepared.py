"""Engines and linkers: the same for every guest, so made before the forks, which share them.

Neither starts a thread or holds a lock. They are made when the backend is imported.
"""

from __future__ import annotations

import functools

import wasmtime

from pelagos_core.hookspecs import GuestExit


@functools.cache
def engine(fuel: bool) -> wasmtime.Engine:
    """The engine for guests with or without a limit of fuel, for which the code differs."""
    return make_engine(fuel, parallel=False)


def make_engine(fuel: bool, *, parallel: bool) -> wasmtime.Engine:
    """parallel: compile in several threads, in a process that was not forked for one guest."""
    config = wasmtime.Config()
    config.parallel_compilation = parallel
    config.wasm_component_model = True
    config.consume_fuel = fuel
    return wasmtime.Engine(config)


@functools.cache
def linker(fuel: bool) -> wasmtime.Linker:
    """A linker for WASI 0.1, with a proc_exit of our own: Wasmtime's traps for codes over 125."""
    made = wasmtime.Linker(engine(fuel))
    made.define_wasi()
    made.allow_shadowing = True
    i32 = wasmtime.ValType.i32()
    made.define_func("wasi_snapshot_preview1", "proc_exit", wasmtime.FuncType([i32], []), _proc_exit)
    made.allow_shadowing = False
    return made


def _proc_exit(code: int) -> None:
    raise GuestExit(code)


linker(False)  # what most guests need
