"""The stack of a guest, which is that of the process's main thread.

The kernel grows the main thread's stack on access, up to the current RLIMIT_STACK, and places mappings at least
128 MiB below it (setrlimit(2); mmap_base in the kernel). So a large stack needs only a limit, not a separate thread.
The engine's own limit is lower: beyond it, the guest traps.
"""

from __future__ import annotations

import resource

MIB = 1 << 20
LARGEST = 8 * MIB  # the default of engines' command lines, and of native programs
SMALLEST = MIB // 2  # Wasmtime's own default
MARGIN = 2 * MIB  # for the frames of Python and of the engine
_SHARE = 8  # the stack gets at most one eighth of the container's memory


def size(memory: int | None) -> int:
    """The size of a guest's stack in bytes.

    memory: the limit of its linear memory in bytes; None if there is none.
    Call it in the guest's process: its hard RLIMIT_STACK is an upper bound.
    """
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    wanted = LARGEST if memory is None else memory // (_SHARE - 1)
    room = LARGEST if hard == resource.RLIM_INFINITY else max(hard - MARGIN, hard // 2)
    return min(LARGEST, max(SMALLEST, wanted), room)


def allow(length: int) -> None:
    """Raise RLIMIT_STACK so that the guest has `length` bytes of stack. Call it in the guest's process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    if soft != resource.RLIM_INFINITY and soft < length + MARGIN:
        most = length + MARGIN
        resource.setrlimit(resource.RLIMIT_STACK, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
