"""Splits args[0] into a path and a function, and determines the kind of a file from its first bytes.

A module of its own because `pelagos run` needs only this part of `entrypoint`, and imports as little as possible.
"""

from __future__ import annotations

import enum
import os
import re

NATIVE_MAGIC = (b"\x7fELF", b"#!")  # elf(5), execve(2)
MODULE_MAGIC = b"\0asm"
_HEAD_BYTES = 4096  # enough to determine the kind of a file
# The name of a component's interface; a second `#` and the name of its function may follow.
_INTERFACE = re.compile(r"[a-z0-9:-]+:[a-z0-9:-]+/[^/#]+\Z")
_LONG_HEAD_BYTES = 1 << 20  # for text that begins with a long comment, such as a licence


class Kind(enum.Enum):
    """The kind of a file, determined from its content, never from its name."""

    MODULE = "core module"
    COMPONENT = "component"
    WAT = "WebAssembly text"
    ELF = "native program"
    SCRIPT = "script"
    UNKNOWN = "file of unknown kind"

    @property
    def is_native(self) -> bool:
        """Whether the kernel can execute it by execve(2)."""
        return self in (Kind.ELF, Kind.SCRIPT)


def sniff(head: bytes) -> Kind:
    """Return the kind of a file whose first bytes are `head`.

    The WebAssembly preamble is `\\0asm`, a 16-bit version and a 16-bit layer: 0 for a
    core module and 1 for a component (component-model, Binary.md). The ahead-of-time code
    of an engine is an ELF file, so it is never mistaken for a module.
    """
    if head.startswith(MODULE_MAGIC) and len(head) >= 8:
        layer = int.from_bytes(head[6:8], "little")
        return {0: Kind.MODULE, 1: Kind.COMPONENT}.get(layer, Kind.UNKNOWN)
    if head.startswith(NATIVE_MAGIC):
        return Kind.SCRIPT if head[:2] == b"#!" else Kind.ELF
    from pelagos_core.plugin import wat  # imported here: its patterns take a millisecond to compile

    return Kind.WAT if wat.begins(head) else Kind.UNKNOWN


def kind_of(file: int) -> Kind:
    """Return the kind of an open file. The descriptor's offset is neither used nor changed. Raises OSError."""
    head = os.pread(file, _HEAD_BYTES, 0)
    kind = sniff(head)
    if kind not in (Kind.WAT, Kind.UNKNOWN) or len(head) < _HEAD_BYTES:
        return kind
    from pelagos_core.plugin import wat

    return sniff(os.pread(file, _LONG_HEAD_BYTES, 0)) if wat.is_all_comment(head) else kind


def split_func(word: str) -> tuple[str, str]:
    """Split `path#func` into path and func; func is empty if the word has none.

    func may contain the name of an interface: `path#wasi:cli/run@0.2.0#run`.
    """
    path, separator, func = word.rpartition("#")
    before, inner, interface = path.rpartition("#")
    if inner and before and func and _INTERFACE.match(interface):
        return before, f"{interface}#{func}"
    return (path, func) if separator and path else (word, "")
