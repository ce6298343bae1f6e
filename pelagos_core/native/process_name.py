"""What `ps` and `top` show of a forked process, which has its parent's name and words otherwise."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from pelagos_core.native.instruction import Instruction, instruction
from pelagos_core.native.process import NativeProcess

SHIM = "pelagos-shim"
"""A daemon's name. A guest, which is called as the end of its first word, cannot have it and a daemon's words too."""

_MAX_BYTES = 128 << 10  # of a command line; execve(2) takes no longer word


def taking(name: str, words: Iterable[str]) -> Instruction:
    """The instruction to take a name and a command line, and to show no environment any more.

    What `/proc/PID/environ` has shown is of the program that was executed, not of its fork.
    name: 15 bytes are kept. words: 128 KiB are. On a system without CONFIG_CHECKPOINT_RESTORE
    there is room for as much as was executed, its environment included. One that does not let us
    at all changes nothing.
    """
    return instruction("take_name", _plain(name).decode(), b"\0".join(map(_plain, words))[:_MAX_BYTES] + b"\0")


def set_name(name: str, words: Iterable[str]) -> None:
    """Set the calling process' name and command line, as `taking` does.

    While the process has one thread: another one could move the end of the heap (brk(2)) meanwhile.
    """
    NativeProcess().run([taking(name, words)])


def rename(name: str) -> None:
    """Give a fork a name of its own. The words behind it stay its parent's: they name the pod or container."""
    with contextlib.suppress(OSError):
        with open("/proc/self/cmdline", "rb") as file:
            words = file.read().removesuffix(b"\0").split(b"\0")
        set_name(name, [name, *(word.decode("utf-8", "replace") for word in words[1:])])


def _plain(word: str) -> bytes:
    """A guest's words may hold anything; a NUL would end one."""
    return word.replace("\0", " ").encode("utf-8", "replace")
