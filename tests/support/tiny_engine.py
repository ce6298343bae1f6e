"""The package `tiny_engine` that docs/writing-a-backend.md writes a backend for: Wasmtime behind its few functions."""

from __future__ import annotations

import wasmtime

__version__ = "1.0"


class Invalid(Exception):
    """No module."""


class Incompatible(Exception):
    """Code of another engine."""


class ProcExit(Exception):
    """The guest has called proc_exit."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Trapped(Exception):
    """The guest has trapped."""


class Wasi:
    """What a guest is given. Each directory is a name, a path, and whether it is read-only."""

    def __init__(self, args, env, directories) -> None:  # type: ignore[no-untyped-def]
        self.config = wasmtime.WasiConfig()
        self.config.argv, self.config.env = list(args), env
        self.config.inherit_stdin()
        self.config.inherit_stdout()
        self.config.inherit_stderr()
        for name, path, _ in directories:
            self.config.preopen_dir(path, name)


class Instance:
    """An instance of a module."""

    def __init__(self, store, exports) -> None:  # type: ignore[no-untyped-def]
        self._store, self._exports = store, exports

    def call(self, name: str) -> None:
        """Call a function. Raises ProcExit and Trapped."""
        try:
            self._exports[name](self._store)
        except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
            raise Trapped(error) from None


class Module:
    """A compiled module. max_memory: in bytes, or None."""

    def __init__(self, engine, module, max_memory) -> None:  # type: ignore[no-untyped-def]
        self._engine, self._module, self._max_memory = engine, module, max_memory

    def serialize(self) -> bytes:
        """Its code, for `map`."""
        return bytes(self._module.serialize())

    def instantiate(self, state: Wasi) -> Instance:
        """Make an instance."""
        store = wasmtime.Store(self._engine)
        store.set_wasi(state.config)
        if self._max_memory:
            store.set_limits(memory_size=self._max_memory)
        linker = wasmtime.Linker(self._engine)
        linker.define_wasi()
        # Wasmtime's own takes no code above 125.
        linker.allow_shadowing = True
        kind = wasmtime.FuncType([wasmtime.ValType.i32()], [])
        linker.define_func("wasi_snapshot_preview1", "proc_exit", kind, _leave)
        try:
            return Instance(store, linker.instantiate(store, self._module).exports(store))
        except wasmtime.Trap as error:
            raise Trapped(error) from None


def _leave(code: int) -> None:
    raise ProcExit(code)


def _engine() -> wasmtime.Engine:
    return wasmtime.Engine(wasmtime.Config())


def compile(data: bytes, max_memory: int | None = None, *, count: bool = False) -> Module:
    """Compile a module. Raises Invalid."""
    assert not count
    engine = _engine()
    try:
        return Module(engine, wasmtime.Module(engine, data), max_memory)
    except wasmtime.WasmtimeError as error:
        raise Invalid(str(error).splitlines()[0]) from None


def map(path: str, max_memory: int | None = None) -> Module:
    """Take code that `serialize` has made. Raises Incompatible."""
    engine = _engine()
    try:
        return Module(engine, wasmtime.Module.deserialize_file(engine, path), max_memory)
    except wasmtime.WasmtimeError as error:
        raise Incompatible(str(error).splitlines()[0]) from None
