"""The linear memories of a guest, made by us, so that its limit is the one that its container has now.

Wasmtime's own limiter takes a number once, and does not tell what it has refused. A host's memory creator
(wasmtime.h, wasmtime_memory_creator_t) is asked at every growth. A process has one guest, so what is
known of it is kept in the module; nothing is made before the guest is instantiated.

An initial memory is address space: it is never refused. Its growth is, by `Entrypoint.allows_memory`.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
from collections.abc import Callable, Sequence
from typing import Any

import wasmtime
from wasmtime import _bindings as c

from pelagos_core.errors import InvalidArgument
from wasmtime_backend.image import Run

_Pointer = Any  # to what C gives and takes: ctypes has no type for it that can be named
_NONE, _READ_WRITE = 0, mmap.PROT_READ | mmap.PROT_WRITE
_RESERVED = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000  # MAP_NORESERVE: it is not charged for
_PLACED = mmap.MAP_PRIVATE | 0x10  # MAP_FIXED
_FAILED = ctypes.c_void_p(-1).value
# Of address space, for the growth of a memory of 64 bits: it stays where it is.
_ROOM = 16 << 30
_RESERVATION = 4 << 30  # of address space, which Wasmtime asks for with any memory
_MOST = 1 << 47  # bytes of a process on x86-64; more are no number for mmap(2)

_Finalizer = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long
)  # fmt: skip
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class _Memory:
    """One memory: where it is, how many bytes it has, and how many it can have there."""

    __slots__ = ("base", "capacity", "size")

    def __init__(self, size: int, capacity: int, guard: int) -> None:
        """Reserve it. Raises OSError."""
        self.size, self.capacity = size, capacity
        # A guard before it, too, as Wasmtime's own memories have: against a bug in its compiler.
        self.base = _mapped(None, guard + capacity + guard, _NONE, _RESERVED) + guard
        self._open(0, size)

    def grow(self, size: int) -> None:
        """Make it larger. Raises OSError."""
        if size > self.capacity:
            raise OSError("no address space is left")
        self._open(self.size, size)
        self.size = size

    def _open(self, begin: int, end: int) -> None:
        begin, end = _whole_pages(begin), _whole_pages(end)
        if end > begin and _libc.mprotect(self.base + begin, end - begin, _READ_WRITE):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class _Guest:
    """What the memories of this process' guest are made of, and may become."""

    def __init__(self) -> None:
        self.allows: Callable[[int], bool] = lambda size: True
        self.image, self.runs = -1, tuple[Run, ...]()
        self.memories: list[_Memory] = []


_guest = _Guest()


def prepare(allows: Callable[[int], bool], image: int = -1, runs: Sequence[Run] = ()) -> None:
    """Say what the guest gets. In its process, before it is instantiated.

    allows: whether its memories may have so many bytes together, once they grow.
    image: a descriptor of the file whose `runs` its memory begins with, which is closed then; -1 without any.
    """
    _guest.allows, _guest.image, _guest.runs = allows, image, tuple(runs)


def check(sizes: Sequence[int], path: str) -> None:
    """Whether there is address space for memories that begin with so many bytes, before they are made.

    path: of the module, for the message. Raises InvalidArgument.
    """
    held: list[tuple[int, int]] = []
    try:
        for length in (_whole_pages(max(size, _RESERVATION)) for size in sizes):
            if length > _MOST:
                raise OSError("more than there can be")
            held.append((_mapped(None, length, _NONE, _RESERVED), length))
    except OSError:
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        reason = "this host does not have it" if limit == resource.RLIM_INFINITY else f"RLIMIT_AS is {limit}"
        text = f"{path!r} begins with {sum(sizes) >> 20} MiB of memory: no address space for it: {reason}"
        raise InvalidArgument(text) from None
    finally:
        for base, length in held:
            _libc.munmap(base, length)


def use(config: wasmtime.Config) -> None:
    """Have the memories of an engine made here."""
    c.wasmtime_config_memory_init_cow_set(config.ptr(), False)  # it is for the engine's own memories only
    c.wasmtime_config_host_memory_creator_set(config.ptr(), ctypes.byref(_CREATOR))


def _told(callback: Callable[..., None]) -> Callable[..., int | None]:
    """A callback that returns a wasmtime_error_t for what it raises: ctypes would give C a pointer to anything."""

    def called(*arguments: object) -> int | None:
        try:
            callback(*arguments)
        except BaseException as error:  # noqa: BLE001 (MemoryError, where RLIMIT_AS is reached)
            return ctypes.cast(c.wasmtime_error_new(str(error).encode()), ctypes.c_void_p).value
        return 0

    return called


@_told
def _make(_: int, kind: object, size: int, maximum: int, reserved: int, guard: int, made: _Pointer) -> None:
    """Make a memory. What Wasmtime asks to be reserved, and the guard behind it, is what its code relies on."""
    capacity = max(size, reserved, min(maximum, size + _ROOM))
    memory = _Memory(size, _whole_pages(capacity), _whole_pages(guard))
    if _guest.image >= 0 and size >= sum(_guest.runs[-1][::2]):  # not one of the engine's own, for what it collects
        for run in _guest.runs:
            _mapped(memory.base + run.address, run.length, _READ_WRITE, _PLACED, _guest.image, run.offset)
        os.close(_guest.image)
        _guest.image = -1
    _guest.memories.append(memory)
    made.contents.env = len(_guest.memories)  # not its index: 0 would be a null pointer
    made.contents.get_memory, made.contents.grow_memory, made.contents.finalizer = _CALLBACKS


def _get(number: int, size: _Pointer, capacity: _Pointer) -> int:
    memory = _guest.memories[number - 1]
    size[0], capacity[0] = memory.size, memory.capacity
    return memory.base


@_told
def _grow(number: int, size: int) -> None:
    memory = _guest.memories[number - 1]
    if not _guest.allows(sum(each.size for each in _guest.memories) - memory.size + size):
        raise OSError("the container's limit")
    memory.grow(size)


def _keep(_: int) -> None:
    """Nothing is given back: memories live as long as the guest, and so does the process."""


# Kept here: C has no more than their addresses.
_MAKE, _FINALIZER = c.wasmtime_new_memory_callback_t(_make), _Finalizer(_keep)
_CALLBACKS = c.wasmtime_memory_get_callback_t(_get), c.wasmtime_memory_grow_callback_t(_grow), _FINALIZER
_CREATOR = c.wasmtime_memory_creator(None, _MAKE, _FINALIZER)


def _mapped(address: int | None, length: int, access: int, flags: int, file: int = -1, offset: int = 0) -> int:
    """mmap(2). Raises OSError."""
    base = _libc.mmap(address, length, access, flags, file, offset)
    if base == _FAILED:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(base)


def _whole_pages(length: int) -> int:
    return length + -length % mmap.PAGESIZE
