"""The entry point: the file that a process' args[0] names, with all that its engine needs to know."""

from __future__ import annotations

import contextlib
import functools
import os
import posixpath
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from pelagos_core.errors import InvalidArgument, NotFound
from pelagos_core.oci import Process
from pelagos_core.plugin import component_types, digest, linking, sockets, values, wasi, wasm, wat
from pelagos_core.plugin.interface import UNKNOWN, Interface
from pelagos_core.plugin.kind import Kind, kind_of, sniff, split_func
from pelagos_core.plugin.limits import Limits, LiveMemory

# What is in `kind` is part of an entry point, and of what a backend imports from here.
__all__ = ["CODE", "Entrypoint", "Kind", "Preopen", "candidates", "kind_of", "not_found", "sniff", "split_func"]

CODE = "code"  # the file with compiled code, in a directory of its own

_NO_LIMITS = Limits()


class Preopen(NamedTuple):
    """A directory that a guest is given.

    name: the guest's name for it. path: where it is. readonly: whether the engine is to refuse
    any change too. It is never asked to: the kernel knows what is read-only, mount by mount.
    """

    name: str
    path: str
    readonly: bool = False


@dataclass(frozen=True)
class Entrypoint:
    """One process to run: the open file, what it is, and the process' words.

    path: where the file is, as the container sees it.
    func: the export to call, from `path#func`, or an empty string for the default one.
    args: the whole argv, `path#func` shortened to `path` in args[0].
    env: `NAME=VALUE` strings, the spec's; PWD is a guest's working directory where that is not `/`.
    cwd: absolute path inside the container.
    file: a descriptor opened for reading; the code that opened it closes it.
    limits: what the engine should hold the guest to.
    directories: what the guest gets of the container's files.
    network: whether it may use the network, which is the container's own then.
    file_path: where a program finds a copy of the file, in its engine root; else empty.
    memory: the container's limit of memory as it is now, for `allows_memory`; None without one.
    code: the path of what `pelagos_compile` has made of the file, in `spawn`; empty if the
        backend has no such hook, or did not want it compiled ahead. A program finds it at `file_path`.
    compiled_interface: of text, and what core does not understand, what the engine says of it: see `check`.
    """

    kind: Kind
    path: str
    func: str
    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    file: int
    limits: Limits = _NO_LIMITS
    file_path: str = ""
    directories: tuple[Preopen, ...] = (Preopen("/", "/"),)
    network: bool = False
    code: str = ""
    compiled_interface: Interface | None = None
    memory: LiveMemory | None = None
    _refused: list[str] = field(default_factory=list, compare=False, repr=False)

    @classmethod
    def of(cls, process: Process, path: str, func: str, file: int, limits: Limits = _NO_LIMITS) -> Entrypoint:
        """Read the first bytes of `file` and put the whole together."""
        return cls(
            kind=kind_of(file),
            path=path,
            func=func,
            args=(split_func(process.args[0])[0], *process.args[1:]),
            env=process.env,
            cwd=process.cwd,
            file=file,
            limits=limits,
        )

    @property
    def is_runnable(self) -> bool:
        """Whether it is WebAssembly, whose files rarely have an x bit, or a file with any x bit."""
        is_wasm = self.kind in (Kind.MODULE, Kind.COMPONENT, Kind.WAT)
        return is_wasm or bool(os.fstat(self.file).st_mode & 0o111)

    @functools.cached_property
    def interface(self) -> Interface:
        """What the file imports and exports; UNKNOWN for what is no WebAssembly, or is not understood.

        Raises InvalidArgument for a binary whose sections cannot be followed.
        """
        if self.compiled_interface is not None:
            return self.compiled_interface
        if self.kind is Kind.WAT:
            return wat.read(self.file)
        if self.kind not in (Kind.MODULE, Kind.COMPONENT):
            return UNKNOWN
        try:
            return wasm.read(self.file)
        except InvalidArgument as error:
            raise InvalidArgument(f"{self.path!r} is {error.message}", error.reason) from None

    @functools.cached_property
    def functions(self) -> dict[str, str] | None:
        """The functions that a component exports, and their types; None of another file, or if they are not known."""
        return component_types.functions(self.file) if self.kind is Kind.COMPONENT else None

    @functools.cached_property
    def digest(self) -> str:
        """sha256 of the file's bytes, in hex. Raises OSError."""
        return digest.sha256(self.file)

    def check(self, known: linking.Imports, worlds: Collection[str] = (wasi.COMMAND_0_2,)) -> None:
        """Check imports and entry point against what an engine provides.

        Core does so before it chooses, by `Detection.imports`. Of text only the engine knows the types, of
        a proposal that core does not understand anything: see `with_compiled`.

        known: for each module or package that the engine provides its names, or None for any name.
        worlds: as in `Detection`.
        Raises InvalidArgument that names the import, or the function that is not there.
        """
        interface = self.interface
        try:
            linking.check(interface, self.func, known, worlds)
            if self.func and self.functions is not None:
                linking.chosen_path(self.func, linking.function_paths(interface, self.func), self.functions)
        except InvalidArgument as error:
            raise InvalidArgument(f"{self.path!r} {error.message}", error.reason) from None

    def with_compiled(self, known: linking.Imports, read: Callable[[], Interface]) -> Entrypoint:
        """The same entry point, checked by what the engine has found in it where core does not know enough.

        In `spawn`, once it is compiled. read: gives the interface as the engine sees it.
        Raises InvalidArgument, as `check`.
        """
        function = self.interface.function(self.func)
        is_typed = function is None or bool(function.signature) or self.interface.is_component
        if self.kind is not Kind.WAT and self.interface.is_known and is_typed:
            return self
        found = replace(self, compiled_interface=read())
        found.check(known)
        return found

    @property
    def calls(self) -> list[str]:
        """The functions of a core module to call, in order: a library's `_initialize` comes before `func`.

        In `spawn`: the file is closed when the workload runs.
        """
        return linking.calls(self.interface, self.func) if self.func else [linking.COMMAND]

    @property
    def call(self) -> values.Call:
        """The last of `calls`, with its arguments: the words after `path#function`, converted by its type.

        In `spawn`, by an engine that claims "function-values".
        Raises InvalidArgument, which names the function and its type, for words that are not its arguments.
        """
        function = self.interface.function(self.func)
        if linking.is_main(self.func) or function is None:
            return values.Call(self.func or linking.COMMAND)
        try:
            return values.convert(function, self.args[1:])
        except InvalidArgument as error:
            raise InvalidArgument(f"{self.path!r} {error.message}", error.reason) from None

    def allows_memory(self, size: int) -> bool:
        """Whether the guest's linear memories may grow to `size` bytes together, as its limit is now.

        In the process that runs it. A first refusal is written to its stderr and to the log.
        """
        if self.memory is not None:
            return self.memory.allows(size)
        return self.limits.memory is None or size <= self.limits.memory

    def refuse_network(self, name: str, why: str = sockets.NO_NETWORK) -> None:
        """Report on stderr that the guest has called an import of `sockets.asked_for` in vain.

        In the process that runs it. The first time only. name: of the import. why: half a sentence.
        """
        if not self._refused:
            self._refused.append(name)
            with contextlib.suppress(OSError):  # a full or closed stderr does not change how the guest ends
                os.write(2, f"{sockets.refusal(name, why)}\n".encode("utf-8", "replace"))

    def read(self) -> bytes:
        """The file's bytes: a copy, so that they cannot change while they are compiled."""
        with os.fdopen(os.dup(self.file), "rb", buffering=0) as file:
            file.seek(0)
            return file.read()

    def read_text(self) -> str:
        """The file's text, without a byte order mark; what is not UTF-8 becomes U+FFFD.

        In any process: Python's own codec for that mark is a file of the host's.
        """
        return self.read().decode("utf-8", "replace").removeprefix("\ufeff")

    def read_code(self) -> bytes:
        """The bytes at `code`, for an engine that cannot map the file. In `spawn`."""
        with open(self.code, "rb", buffering=0) as file:
            return file.read()

    def preopens(self, root: str = "") -> list[Preopen]:
        """The directories a guest is given, in order.

        root: where the container's root file system is; empty if it is `/` itself.
        It is `/` alone, or none. WASI has no working directory: PWD in `env` is where Go's library
        starts. wasi-libc (C, Rust) starts in `/` whatever is preopened, and a preopen `.` would
        catch its absolute paths too.
        """
        return [each._replace(path=posixpath.normpath(f"{root}/{each.path}")) for each in self.directories]

    def environment(self) -> list[tuple[str, str]]:
        """`env` as (name, value) pairs in the spec's order."""
        pairs = (variable.partition("=") for variable in self.env)
        return [(name, value) for name, _, value in pairs]


def candidates(process: Process | Entrypoint) -> list[str]:
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
    """The error for an args[0] that is at none of its candidates.

    In the words of runc, by which docker and podman tell that their exit code is 127.
    """
    word, _ = split_func(process.args[0])
    why = "no such file or directory in the container" if "/" in word else "executable file not found in $PATH"
    tried = ", ".join(repr(path) for path in candidates(process))
    return NotFound(f"entry point {process.args[0]!r}: {why}: tried {tried}")
