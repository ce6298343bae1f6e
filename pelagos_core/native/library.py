"""The library of the distribution pelagos-native, and its tables.

Operations, slots and stages are defined only in its sources (native/process/). Python reads them from the library.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Mapping
from typing import Any

import pelagos_native


@functools.cache
def library() -> Any:  # noqa: ANN401 (ctypes has no type for a library's functions)
    """Load the library. Raises OSError if it is missing or built for another machine."""
    loaded = ctypes.CDLL(str(pelagos_native.LIBRARY))
    for name in ("plan_operations", "plan_slots", "plan_stages"):
        getattr(loaded, name).restype = ctypes.c_char_p
    loaded.plan_process_size.restype = ctypes.c_size_t
    loaded.plan_identity.argtypes = (ctypes.c_char_p,)
    loaded.plan_identity.restype = None
    loaded.plan_reset.argtypes = (ctypes.c_void_p,)
    loaded.plan_reset.restype = None
    loaded.plan_execute.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t)
    loaded.plan_execute.restype = ctypes.c_int
    return loaded


@functools.cache
def identity() -> str:
    """The identity of a build: a digest of its operations, slots, stages and sources."""
    text = ctypes.create_string_buffer(65)
    library().plan_identity(text)
    return text.value.decode()


@functools.cache
def operations() -> Mapping[str, tuple[int, str]]:
    """The code of each operation and the kinds of its arguments, see native/process/operations.h."""
    lines = library().plan_operations().decode().splitlines()
    return {name: (code, kinds) for code, (name, _, kinds) in enumerate(line.partition(" ") for line in lines)}


@functools.cache
def slots() -> tuple[str, ...]:
    """The slots that operations use without naming them in an argument; the index is the number."""
    return tuple(library().plan_slots().decode().splitlines())


@functools.cache
def stages() -> tuple[str, ...]:
    """The stages at which an operation may fail; the index is the number."""
    return tuple(library().plan_stages().decode().splitlines())
