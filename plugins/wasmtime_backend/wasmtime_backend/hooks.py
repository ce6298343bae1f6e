"""Wasmtime: core modules (WASI 0.1) and components (WASI 0.2) embedded; further features by its program."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata

from pelagos_core.errors import InvalidArgument
from pelagos_core.plugin import program
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.drain import Drains
from pelagos_core.plugin.entrypoint import Entrypoint, Kind
from pelagos_core.plugin.hookspecs import (
    Description,
    Detection,
    NativePart,
    RunningProcess,
    Spawned,
    hookimpl,
)
from pelagos_core.plugin.program import Compilation
from pelagos_core.plugin.program_backend import children
from wasmtime_backend import engine, native_part, wasi
from wasmtime_backend.program_form import HTTP, ProgramForm, Use, use_of

pelagos_contract = 1

_FEATURES = frozenset(
    {
        *("module", "component", "wat", "wasi-0.1", "wasi-0.2"),
        *("function", "function-values", "argv0", "cwd", "read-only", "ahead-of-time"),
    }
)
# The proposals that the package enables by default.
_PROPOSALS = frozenset({"simd", "relaxed-simd", "tail-call", "exceptions", "gc", "memory64", "multi-memory"})
_LIMITS = frozenset({"memory", "live-memory", "fuel", "request"})
# Computed at import: the version of the loaded package; another one may be installed while this process runs.
_DESCRIPTION = Description("Wasmtime", metadata.version("wasmtime"), "embedded", _FEATURES | _PROPOSALS, _LIMITS)
_CAN = {
    Kind.MODULE: Detection.can(95, "core module, WASI 0.1", imports=wasi.IMPORTS),
    Kind.COMPONENT: Detection.can(95, "component, WASI 0.2", imports=wasi.IMPORTS),
    Kind.WAT: Detection.can(95, "WebAssembly text, core module or component", imports=wasi.IMPORTS),
}


_program = ProgramForm()
_drains = Drains()
_GRACEFUL = frozenset({signal.SIGTERM, signal.SIGINT})


@hookimpl
def pelagos_configure(settings: Mapping[str, object]) -> None:
    """Find the program. The settings `program` and `root` are those of `pelagos_core.plugin.program.find`."""
    unknown = sorted(settings.keys() - program.SETTINGS)
    if unknown:
        raise InvalidArgument(f"unknown setting {unknown[0]!r} (known: {', '.join(sorted(program.SETTINGS))})")
    _program.find_program(settings)


@hookimpl
def pelagos_describe() -> Description:
    """Describe Wasmtime's Python package, and its program if it is installed."""
    second = _program.pelagos_describe()
    if second.problem:
        lacks = f"{', '.join(sorted(second.features))}: {second.obstacle}"
        return replace(_DESCRIPTION, lacks=lacks)
    return replace(_DESCRIPTION, features=_DESCRIPTION.features | second.features, program=second.version)


@hookimpl
def pelagos_native() -> NativePart:
    """The native part; it behaves like `engine`, through Wasmtime's C API."""
    return native_part.find()


@hookimpl
def pelagos_detect(bundle: Bundle, entrypoint: Entrypoint) -> Detection:
    """Accept WebAssembly whose imports Wasmtime provides."""
    use = _use_of(entrypoint)
    if use is not None:
        return _program.detect(use, bundle, entrypoint)
    return _CAN.get(entrypoint.kind) or Detection.cannot(f"a {entrypoint.kind.value} is not WebAssembly")


def _use_of(entrypoint: Entrypoint) -> Use | None:
    try:
        use = use_of(entrypoint)
        return use if use and (use.is_needed or _program.program) else None
    except InvalidArgument:
        return None  # core reports the fault


@hookimpl
def pelagos_code_key(entrypoint: Entrypoint) -> str | None:
    """Code with a limit of fuel differs, because it counts; limits of memory and stack do not change the code."""
    if _use_of(entrypoint) is not None:
        return _program.pelagos_code_key(entrypoint)
    if _use_of(replace(entrypoint, func="")) is not None:
        return None  # the compiler does not know the function, so it would use the program
    return "fuel" if entrypoint.limits.fuel is not None else ""


@hookimpl
def pelagos_compiler(entrypoint: Entrypoint) -> Compilation | None:
    """The program, for entry points that the program runs."""
    return _program.pelagos_compiler(entrypoint)


@hookimpl
def pelagos_compile(entrypoint: Entrypoint) -> bytearray:
    """Compile to Wasmtime's serialized format, an ELF file that can be mapped."""
    return engine.compile(entrypoint)


@hookimpl
def pelagos_spawn(bundle: Bundle, entrypoint: Entrypoint) -> Spawned:
    """Map or compile the code and check it. The workload instantiates and runs it, or executes the program."""
    if entrypoint.file_path and use_of(entrypoint) is HTTP:
        return _program.server(bundle, entrypoint)
    if entrypoint.file_path:
        return _program.pelagos_spawn(entrypoint)
    return engine.load(entrypoint)


@hookimpl
def pelagos_signal(process: RunningProcess, signum: int) -> bool | None:
    """Start a server's graceful shutdown; send SIGSTOP and SIGCONT to the program too.

    A second signal kills a server at once.
    """
    if process.serves and signum in _GRACEFUL:
        if _drains.are_by_init(process):
            return _drains.tell(process) or None
        for engine in children(process.pid):
            return _drains.begin(process, engine, signal.SIGINT) or None
    _program.pelagos_signal(process, signum)
    return None
