"""What args[0] names, and what a file is by its bytes.

Apart from `entrypoint`, since it is all that `pelagos run` needs of that: the command imports no more than it must.
"""

from __future__ import annotations

import enum
import os
import re

NATIVE_MAGIC = (b"\x7fELF", b"#!")  # elf(5), execve(2)
MODULE_MAGIC = b"\0asm"
_HEAD_BYTES = 4096  # what is read to tell the kind
# The name of an interface of a component, whose function may be named after another `#`.
_INTERFACE = re.compile(r"[a-z0-9:-]+:[a-z0-9:-]+/[^/#]+\Z")
_LONG_HEAD_BYTES = 1 << 20  # of text that begins with a long comment, such as a licence


class Kind(enum.Enum):
    """What a file is, by its bytes and never by its name."""

    MODULE = "core module"
    COMPONENT = "component"
    WAT = "WebAssembly text"
    ELF = "native program"
    SCRIPT = "script"
    UNKNOWN = "file of unknown kind"

    @property
    def is_native(self) -> bool:
        """Whether the kernel runs it, by execve(2)."""
        return self in (Kind.ELF, Kind.SCRIPT)


def sniff(head: bytes) -> Kind:
    """Tell the kind of a file by its first bytes.

    The WebAssembly preamble is `\\0asm`, a 16-bit version and a 16-bit layer, 0 for a
    core module and 1 for a component (component-model, Binary.md). The ahead-of-time code
    of an engine is an ELF file, so it is never taken for a module.
    """
    if head.startswith(MODULE_MAGIC) and len(head) >= 8:
        layer = int.from_bytes(head[6:8], "little")
        return {0: Kind.MODULE, 1: Kind.COMPONENT}.get(layer, Kind.UNKNOWN)
    if head.startswith(NATIVE_MAGIC):
        return Kind.SCRIPT if head[:2] == b"#!" else Kind.ELF
    from pelagos_core.plugin import wat  # here, since its patterns take a millisecond to compile

    return Kind.WAT if wat.begins(head) else Kind.UNKNOWN


def kind_of(file: int) -> Kind:
    """Tell the kind of the file behind a descriptor, whose offset is neither used nor moved. Raises OSError."""
    head = os.pread(file, _HEAD_BYTES, 0)
    kind = sniff(head)
    if kind not in (Kind.WAT, Kind.UNKNOWN) or len(head) < _HEAD_BYTES:
        return kind
    from pelagos_core.plugin import wat

    return sniff(os.pread(file, _LONG_HEAD_BYTES, 0)) if wat.is_all_comment(head) else kind


def split_func(word: str) -> tuple[str, str]:
    """Split `path#func` into path and func; func is empty where there is none.

    It may be that of an interface, as `path#wasi:cli/run@0.2.0#run`.
    """
    path, separator, func = word.rpartition("#")
    before, inner, interface = path.rpartition("#")
    if inner and before and func and _INTERFACE.match(interface):
        return before, f"{interface}#{func}"
    return (path, func) if separator and path else (word, "")
