"""The entry point: the file that a process' args[0] names, and what its bytes say it is."""

from __future__ import annotations

import enum
import os
import posixpath
import re
from dataclasses import dataclass

from pelagos_core.errors import NotFound
from pelagos_core.spec import Process

HEAD_BYTES = 4096  # what is read to tell the kind; comments before "(module" rarely are longer

_WAT_START = re.compile(rb"(?:\s|;;[^\n]*\n|\(;.*?;\))*\(\s*(module|component)\b", re.DOTALL)


class Kind(enum.Enum):
    """What a file is, by its bytes and never by its name."""

    MODULE = "core module"
    COMPONENT = "component"
    WAT = "WebAssembly text"
    ELF = "native program"
    SCRIPT = "script"
    UNKNOWN = "file of unknown kind"


def sniff(head: bytes) -> Kind:
    """Tell the kind of a file by its first bytes.

    The WebAssembly preamble is `\\0asm`, a 16-bit version and a 16-bit layer, 0 for a
    core module and 1 for a component (component-model, Binary.md). The ahead-of-time code
    of an engine is an ELF file, so it is never taken for a module.
    """
    if head[:4] == b"\0asm" and len(head) >= 8:
        layer = int.from_bytes(head[6:8], "little")
        return {0: Kind.MODULE, 1: Kind.COMPONENT}.get(layer, Kind.UNKNOWN)
    if head[:4] == b"\x7fELF":
        return Kind.ELF
    if head[:2] == b"#!":
        return Kind.SCRIPT
    if _WAT_START.match(head):
        return Kind.WAT
    return Kind.UNKNOWN


@dataclass(frozen=True, slots=True)
class Entrypoint:
    """One process to run: the open file, what it is, and the process' words.

    path: where the file is, as the container sees it.
    func: the export to call, from `path#func`, or an empty string for the default one.
    args: the whole argv, `path#func` shortened to `path` in args[0].
    env: `NAME=VALUE` strings, exactly the spec's.
    cwd: absolute path inside the container.
    file: a descriptor opened for reading; it belongs to whoever opened it.
    """

    kind: Kind
    path: str
    func: str
    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    file: int

    @classmethod
    def of(cls, process: Process, path: str, func: str, file: int) -> Entrypoint:
        """Read the first bytes of `file` and put the whole together."""
        return cls(
            kind=sniff(os.pread(file, HEAD_BYTES, 0)),
            path=path,
            func=func,
            args=(split_func(process.args[0])[0], *process.args[1:]),
            env=process.env,
            cwd=process.cwd,
            file=file,
        )

    def read(self) -> bytes:
        """The file's bytes: a copy, so that nobody can change them while they are compiled."""
        with os.fdopen(os.dup(self.file), "rb", buffering=0) as file:
            file.seek(0)
            return file.read()

    def environment(self) -> list[tuple[str, str]]:
        """`env` as (name, value) pairs in the spec's order."""
        pairs = (variable.partition("=") for variable in self.env)
        return [(name, value) for name, _, value in pairs]


def split_func(word: str) -> tuple[str, str]:
    """Split `path#func` into path and func; func is empty where there is none."""
    path, separator, func = word.rpartition("#")
    return (path, func) if separator and path else (word, "")


def candidates(process: Process) -> list[str]:
    """Absolute paths in the container at which args[0] may be found, best first.

    A word with a slash is taken from the working directory, as execve(2) does. A bare
    one is looked up in PATH and then, because images of modules rarely set PATH, in the
    working directory.
    """
    word, _ = split_func(process.args[0])
    if "/" in word:
        return [posixpath.join(process.cwd, word)]
    path = dict(variable.partition("=")[::2] for variable in process.env).get("PATH", "")
    directories = [entry for entry in path.split(":") if entry.startswith("/")]
    return [posixpath.join(entry, word) for entry in [*directories, process.cwd]]


def not_found(process: Process) -> NotFound:
    """The error for an args[0] that is at none of its candidates."""
    tried = ", ".join(repr(path) for path in candidates(process))
    return NotFound(f"entry point {process.args[0]!r}: no such file in the container: tried {tried}")
