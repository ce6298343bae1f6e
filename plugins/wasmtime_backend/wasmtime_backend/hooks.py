"""Wasmtime, embedded: core modules (WASI 0.1) and command components (WASI 0.2)."""

from __future__ import annotations

from pelagos_core.bundle import Bundle
from pelagos_core.entrypoint import Entrypoint, Kind
from pelagos_core.hookspecs import Detection, Workload, hookimpl
from wasmtime_backend import engine

_CAN = {
    Kind.MODULE: Detection.can(90, "core module, WASI 0.1"),
    Kind.COMPONENT: Detection.can(90, "component, WASI 0.2"),
    Kind.WAT: Detection.can(90, "WebAssembly text, core module or component"),
}


@hookimpl
def pelagos_detect(entrypoint: Entrypoint) -> Detection:
    """Everything that is WebAssembly."""
    return _CAN.get(entrypoint.kind) or Detection.cannot(f"a {entrypoint.kind.value} is not WebAssembly")


@hookimpl
def pelagos_spawn(bundle: Bundle, entrypoint: Entrypoint) -> Workload:
    """Compile and check it; the workload instantiates and runs it."""
    return engine.load(entrypoint)
