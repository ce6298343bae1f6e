"""Wasmtime, embedded: core modules (WASI 0.1) and command components (WASI 0.2)."""

from __future__ import annotations

from importlib import metadata

from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.entrypoint import Entrypoint, Kind
from pelagos_core.plugin.hookspecs import Description, Detection, NativePart, Workload, hookimpl
from wasmtime_backend import engine, native_part, wasi

_FEATURES = frozenset(
    {"module", "component", "wat", "wasi-0.1", "wasi-0.2", "function", "argv0", "cwd", "read-only", "ahead-of-time"}
)
# What its package has on by default.
_PROPOSALS = frozenset({"simd", "relaxed-simd", "tail-call", "exceptions", "gc", "memory64", "multi-memory"})
_LIMITS = frozenset({"memory", "live-memory", "fuel"})
# Of what is loaded now: another version may be installed while this process lives.
_DESCRIPTION = Description("Wasmtime", metadata.version("wasmtime"), "embedded", _FEATURES | _PROPOSALS, _LIMITS)
_CAN = {
    Kind.MODULE: Detection.can(95, "core module, WASI 0.1", imports=wasi.IMPORTS),
    Kind.COMPONENT: Detection.can(95, "component, WASI 0.2", imports=wasi.IMPORTS),
    Kind.WAT: Detection.can(95, "WebAssembly text, core module or component", imports=wasi.IMPORTS),
}


@hookimpl
def pelagos_describe() -> Description:
    """Wasmtime's own Python package."""
    return _DESCRIPTION


@hookimpl
def pelagos_native() -> NativePart:
    """It does what `engine` does, by Wasmtime's C API."""
    return native_part.find()


@hookimpl
def pelagos_detect(entrypoint: Entrypoint) -> Detection:
    """Everything that is WebAssembly, with imports that Wasmtime has."""
    return _CAN.get(entrypoint.kind) or Detection.cannot(f"a {entrypoint.kind.value} is not WebAssembly")


@hookimpl
def pelagos_code_key(entrypoint: Entrypoint) -> str:
    """Code that counts fuel is other code; limits of memory and stack are not in it."""
    return "fuel" if entrypoint.limits.fuel is not None else ""


@hookimpl
def pelagos_compile(entrypoint: Entrypoint) -> bytearray:
    """Wasmtime's serialized form, an ELF file that can be mapped."""
    return engine.compile(entrypoint)


@hookimpl
def pelagos_spawn(bundle: Bundle, entrypoint: Entrypoint) -> Workload:
    """Map the code, or compile it, and check it; the workload instantiates and runs it."""
    return engine.load(entrypoint)
