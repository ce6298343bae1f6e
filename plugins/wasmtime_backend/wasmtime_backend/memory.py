"""A memory creator for Wasmtime that enforces the container's current memory limit.

Wasmtime's own limiter gets a fixed number, and does not report refusals. A memory creator of the host
(wasmtime.h, wasmtime_memory_creator_t) is called at each growth. A process has one guest, so the guest's state is
global in this module; no memory is created before the guest is instantiated.

The initial size of a memory is only address space and is never refused. `Entrypoint.allows_memory` limits growth.
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

_Pointer = Any  # a pointer of ctypes: its type has no public name
_NONE, _READ_WRITE = 0, mmap.PROT_READ | mmap.PROT_WRITE
_RESERVED = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000  # MAP_NORESERVE: no swap space is reserved
_PLACED = mmap.MAP_PRIVATE | 0x10  # MAP_FIXED
_FAILED = ctypes.c_void_p(-1).value
# Bytes of address space for the growth of a memory with 64-bit addresses, because a memory cannot be moved.
_ROOM = 16 << 30
_RESERVATION = 4 << 30  # bytes of address space that Wasmtime requests for each memory
_MOST = 1 << 47  # the address space of a process on x86-64, in bytes

_Finalizer = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long
)  # fmt: skip
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class _Memory:
    """One memory: its address, its size and its capacity, in bytes."""

    __slots__ = ("base", "capacity", "size")

    def __init__(self, size: int, capacity: int, guard: int) -> None:
        """Reserve address space and make the first `size` bytes accessible. Raises OSError."""
        self.size, self.capacity = size, capacity
        # A guard before it too, like Wasmtime's own memories: against bugs in its compiler.
        self.base = _mapped(None, guard + capacity + guard, _NONE, _RESERVED) + guard
        self._open(0, size)

    def grow(self, size: int) -> None:
        """Make the memory larger. Raises OSError."""
        if size > self.capacity:
            raise OSError("no address space is left")
        self._open(self.size, size)
        self.size = size

    def _open(self, begin: int, end: int) -> None:
        begin, end = _whole_pages(begin), _whole_pages(end)
        if end > begin and _libc.mprotect(self.base + begin, end - begin, _READ_WRITE):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class _Guest:
    """The state of this process's guest: its memories, their limit, and their initial content."""

    def __init__(self) -> None:
        self.allows: Callable[[int], bool] = lambda size: True
        self.image, self.runs = -1, tuple[Run, ...]()
        self.memories: list[_Memory] = []


_guest = _Guest()


def prepare(allows: Callable[[int], bool], image: int = -1, runs: Sequence[Run] = ()) -> None:
    """Set the limit and the initial content of the guest's memories. Call it in its process, before instantiation.

    allows: returns whether the memories may have so many bytes in total after a growth.
    image: a descriptor of the file with the initial content, closed when it is mapped; -1 if there is none.
    runs: the pages in that file.
    """
    _guest.allows, _guest.image, _guest.runs = allows, image, tuple(runs)


def check(sizes: Sequence[int], path: str) -> None:
    """Check that there is enough address space for memories with these initial sizes.

    sizes: in bytes. path: the module's, for the message. Raises InvalidArgument.
    """
    held: list[tuple[int, int]] = []
    try:
        for length in (_whole_pages(max(size, _RESERVATION)) for size in sizes):
            if length > _MOST:
                raise OSError("more than the address space of a process")
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
    """Make an engine use this memory creator."""
    c.wasmtime_config_memory_init_cow_set(config.ptr(), False)  # applies to the engine's own memories only
    c.wasmtime_config_host_memory_creator_set(config.ptr(), ctypes.byref(_CREATOR))


def _told(callback: Callable[..., None]) -> Callable[..., int | None]:
    """Wrap a callback so that it returns a wasmtime_error_t for an exception: ctypes would return a wild pointer."""

    def called(*arguments: object) -> int | None:
        try:
            callback(*arguments)
        except BaseException as error:  # noqa: BLE001 (for example MemoryError at RLIMIT_AS)
            return ctypes.cast(c.wasmtime_error_new(str(error).encode()), ctypes.c_void_p).value
        return 0

    return called


@_told
def _make(_: int, kind: object, size: int, maximum: int, reserved: int, guard: int, made: _Pointer) -> None:
    """Create a memory. The compiled code relies on the reserved size and on the guard after it."""
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
        raise OSError("the container's memory limit")
    memory.grow(size)


def _keep(_: int) -> None:
    """The finalizer of a memory: does nothing, because the process exits with the guest."""


# Referenced here so that Python does not free them: C has only their addresses.
_MAKE, _FINALIZER = c.wasmtime_new_memory_callback_t(_make), _Finalizer(_keep)
_CALLBACKS = c.wasmtime_memory_get_callback_t(_get), c.wasmtime_memory_grow_callback_t(_grow), _FINALIZER
_CREATOR = c.wasmtime_memory_creator(None, _MAKE, _FINALIZER)


def _mapped(address: int | None, length: int, access: int, flags: int, file: int = -1, offset: int = 0) -> int:
    """Call mmap(2). Raises OSError."""
    base = _libc.mmap(address, length, access, flags, file, offset)
    if base == _FAILED:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(base)


def _whole_pages(length: int) -> int:
    return length + -length % mmap.PAGESIZE
