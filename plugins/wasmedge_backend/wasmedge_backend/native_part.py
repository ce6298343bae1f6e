"""Finds the backend's native part, and checks that it fits the loaded version of WasmEdge."""

from __future__ import annotations

from pathlib import Path

from pelagos_core.errors import FailedPrecondition
from pelagos_core.plugin.hookspecs import NativePart
from wasmedge_backend.library import Library

LIBRARY = Path(__file__).parent / "bin" / "engine.so"
# The native part declares WasmEdge's functions by hand, like `library`; their two structures are unchanged since 0.9.
MADE_FOR = "0.14"


def find(library: Library) -> NativePart:
    """The native part for the library that this process has loaded. Call it on the host.

    Raises FailedPrecondition if it is missing or made for another version, OSError.
    """
    if not LIBRARY.exists():
        raise FailedPrecondition("it is not compiled")
    if library.version.split(".")[:2] != MADE_FOR.split("."):
        raise FailedPrecondition(f"it was made for WasmEdge {MADE_FOR}, this is {library.version}")
    return NativePart.of(str(LIBRARY), library.path, is_light=False)  # libLLVM is relocated: 13 ms
