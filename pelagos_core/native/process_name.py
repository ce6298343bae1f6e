"""Sets the name and the command line of a forked process, which it has inherited from its parent."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from pelagos_core.native.instruction import Instruction, instruction
from pelagos_core.native.process import NativeProcess

SHIM = "pelagos-shim"
"""The name of a daemon. A guest's name is derived from its first argument, so a guest cannot have both this name
and a daemon's command line."""

_MAX_BYTES = 128 << 10  # of a command line; the limit of execve(2) for one string


def taking(name: str, words: Iterable[str]) -> Instruction:
    """The instruction to set the name and the command line, and to empty the shown environment.

    Else the `/proc/PID/environ` of a fork shows the environment of its parent's program.
    name: cut to 15 bytes. words: cut to 128 KiB. On a kernel without CONFIG_CHECKPOINT_RESTORE they are cut to the size
    of that program's command line and environment. If the kernel refuses, nothing changes.
    """
    return instruction("take_name", _plain(name).decode(), b"\0".join(map(_plain, words))[:_MAX_BYTES] + b"\0")


def set_name(name: str, words: Iterable[str]) -> None:
    """Set the calling process' name and command line, see `taking`.

    The process must have one thread: another one could change the end of the heap (brk(2)) meanwhile.
    """
    NativeProcess().run([taking(name, words)])


def rename(name: str) -> None:
    """Set the name of a fork. The rest of its parent's command line stays: it names the pod or container."""
    with contextlib.suppress(OSError):
        with open("/proc/self/cmdline", "rb") as file:
            words = file.read().removesuffix(b"\0").split(b"\0")
        set_name(name, [name, *(word.decode("utf-8", "replace") for word in words[1:])])


def _plain(word: str) -> bytes:
    """Replace NUL bytes, which would end a word: a guest's words may hold any bytes."""
    return word.replace("\0", " ").encode("utf-8", "replace")
