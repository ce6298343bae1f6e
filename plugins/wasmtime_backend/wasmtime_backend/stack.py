"""How deep a guest may call: its stack is that of the process' main thread.

A main thread's stack grows as it is touched, up to RLIMIT_STACK as it is at that moment, and
what is mapped keeps 128 MiB away from it (setrlimit(2); mmap_base in the kernel). So it takes no thread
of its own, only a limit; past the engine's own limit, which is lower, the guest traps.
"""

from __future__ import annotations

import resource

MIB = 1 << 20
LARGEST = 8 * MIB  # as on the command lines of engines, and of a native program
SMALLEST = MIB // 2  # Wasmtime's own default
MARGIN = 2 * MIB  # for the interpreter's frames above the guest's, and the engine's own below them
_SHARE = 8  # an eighth of the container's memory at the most is stack


def size(memory: int | None) -> int:
    """The stack of a guest in bytes.

    memory: the limit of its linear memory in bytes, None without. In its process, whose hard limit counts too.
    """
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    wanted = LARGEST if memory is None else memory // (_SHARE - 1)
    room = LARGEST if hard == resource.RLIM_INFINITY else max(hard - MARGIN, hard // 2)
    return min(LARGEST, max(SMALLEST, wanted), room)


def allow(length: int) -> None:
    """Let the main thread's stack grow so far that a guest finds `length` bytes. In its process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    if soft != resource.RLIM_INFINITY and soft < length + MARGIN:
        most = length + MARGIN
        resource.setrlimit(resource.RLIMIT_STACK, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
