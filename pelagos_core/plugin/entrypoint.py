"""The entry point: the file that args[0] of a process names, with everything that an engine needs to run it."""

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

# Backends import the names of `kind` from here, as part of the contract.
__all__ = ["CODE", "Entrypoint", "Kind", "Preopen", "candidates", "kind_of", "not_found", "sniff", "split_func"]

CODE = "code"  # the name of the file with compiled code, in a directory of its own

_NO_LIMITS = Limits()


class Preopen(NamedTuple):
    """A directory that the guest can open (a WASI preopen).

    name: the guest's name for it.
    path: its path for the process that runs the guest.
    readonly: whether the engine must refuse changes. Core leaves it False: the kernel enforces
        read-only mounts.
    """

    name: str
    path: str
    readonly: bool = False


@dataclass(frozen=True)
class Entrypoint:
    """One process to run: an open file, its kind, and the arguments and environment of the process.

    kind: what the file is, determined from its content.
    path: the file's path inside the container.
    func: the export to call, from `path#func`; an empty string for the default one.
    args: the whole argv; in args[0], `path#func` is shortened to `path`.
    env: the spec's `NAME=VALUE` strings. PWD is the guest's working directory if that is not `/`.
    cwd: absolute path inside the container.
    file: a descriptor opened for reading; the code that opened it closes it.
    limits: the limits that the engine must enforce.
    directories: the directories of the container that the guest can open.
    network: whether the guest may use the container's network.
    file_path: the path of a copy of the file in the engine root, for an engine that is a program; else empty.
    memory: the container's current memory limit, for `allows_memory`; None if there is none.
    code: in `spawn`, the path of the code that `pelagos_compile` has returned; empty if the backend has
        no such hook, or its `code_key` is None. For a program it is the same path as `file_path`.
    compiled_interface: the interface according to the engine, for text and for files that core does not
        understand; see `with_compiled`.
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
        """Make an entry point from a process of the spec; the kind is read from `file`. Raises OSError."""
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
        """Whether it is WebAssembly, or a file with an execute permission. WebAssembly files rarely have one."""
        is_wasm = self.kind in (Kind.MODULE, Kind.COMPONENT, Kind.WAT)
        return is_wasm or bool(os.fstat(self.file).st_mode & 0o111)

    @functools.cached_property
    def interface(self) -> Interface:
        """What the file imports and exports; UNKNOWN if it is not WebAssembly, or core does not understand it.

        Raises InvalidArgument for a binary with malformed sections.
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
        """The functions that a component exports, and their types; None if they are not known, or for other files."""
        return component_types.functions(self.file) if self.kind is Kind.COMPONENT else None

    @functools.cached_property
    def digest(self) -> str:
        """sha256 of the file's bytes, in hex. Raises OSError."""
        return digest.sha256(self.file)

    def check(self, known: linking.Imports, worlds: Collection[str] = (wasi.COMMAND_0_2,)) -> None:
        """Check the file's imports and its entry point against what an engine provides.

        Core calls it with `Detection.imports` before it chooses a backend. Core knows no types for text, and
        nothing about a file with an unknown proposal: for these, call `with_compiled` in `spawn`.

        known: for each module or package that the engine provides, its names, or None for any name.
        worlds: as in `Detection`.
        Raises InvalidArgument; the message names the unknown import or the missing function.
        """
        interface = self.interface
        try:
            linking.check(interface, self.func, known, worlds)
            if self.func and self.functions is not None:
                linking.chosen_path(self.func, linking.function_paths(interface, self.func), self.functions)
        except InvalidArgument as error:
            raise InvalidArgument(f"{self.path!r} {error.message}", error.reason) from None

    def with_compiled(self, known: linking.Imports, read: Callable[[], Interface]) -> Entrypoint:
        """Check an entry point that core could not check completely, by the interface that the engine has read.

        Call it in `spawn`, after the module is compiled.

        known: as in `check`.
        read: returns the interface according to the engine; called only if core does not know it.
        Returns the same entry point, with that interface. Raises InvalidArgument like `check`.
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
        """The functions of a core module to call, in order: a library's `_initialize` is called before `func`.

        Read it in `spawn`: the file is closed when the workload runs.
        """
        return linking.calls(self.interface, self.func) if self.func else [linking.COMMAND]

    @property
    def call(self) -> values.Call:
        """The last of `calls` with its arguments: the words after `path#function`, converted to the parameters' types.

        Read it in `spawn`, in a backend that claims "function-values".
        Raises InvalidArgument if the words do not fit; the message names the function and its type.
        """
        function = self.interface.function(self.func)
        if linking.is_main(self.func) or function is None:
            return values.Call(self.func or linking.COMMAND)
        try:
            return values.convert(function, self.args[1:])
        except InvalidArgument as error:
            raise InvalidArgument(f"{self.path!r} {error.message}", error.reason) from None

    def allows_memory(self, size: int) -> bool:
        """Whether the guest's linear memories may grow to `size` bytes in total, by the current limit.

        Call it in the process that runs the guest. The first refusal is written to stderr and to the log.
        """
        if self.memory is not None:
            return self.memory.allows(size)
        return self.limits.memory is None or size <= self.limits.memory

    def refuse_network(self, name: str, why: str = sockets.NO_NETWORK) -> None:
        """Report on stderr that the guest has called an import of `sockets.asked_for` and gets no network.

        Call it in the process that runs the guest. Only the first call writes a line.

        name: the import's name. why: the reason, such as "it has no network".
        """
        if not self._refused:
            self._refused.append(name)
            with contextlib.suppress(OSError):  # a full or closed stderr does not change how the guest ends
                os.write(2, f"{sockets.refusal(name, why)}\n".encode("utf-8", "replace"))

    def read(self) -> bytes:
        """A copy of the file's bytes, so that they cannot change while they are compiled. Raises OSError."""
        with os.fdopen(os.dup(self.file), "rb", buffering=0) as file:
            file.seek(0)
            return file.read()

    def read_text(self) -> str:
        """The file's text without its byte order mark; bytes that are not UTF-8 become U+FFFD. Raises OSError.

        Works in every process. Python's codec `utf-8-sig` is a file of the host, which a container cannot read.
        """
        return self.read().decode("utf-8", "replace").removeprefix("\ufeff")

    def read_code(self) -> bytes:
        """The bytes of the file at `code`, for an engine that cannot map it. Call it in `spawn`. Raises OSError."""
        with open(self.code, "rb", buffering=0) as file:
            return file.read()

    def preopens(self, root: str = "") -> list[Preopen]:
        """The directories that the guest can open: `/` alone, or none if the policy allows none.

        root: the path of the container's root file system; empty if it is `/` itself.

        WASI has no working directory. Go's library starts in PWD of `env`. wasi-libc (C, Rust) always
        starts in `/`; it would also use a preopen `.` for absolute paths, so there is none.
        """
        return [each._replace(path=posixpath.normpath(f"{root}/{each.path}")) for each in self.directories]

    def environment(self) -> list[tuple[str, str]]:
        """`env` as (name, value) pairs in the spec's order."""
        pairs = (variable.partition("=") for variable in self.env)
        return [(name, value) for name, _, value in pairs]


def candidates(process: Process | Entrypoint) -> list[str]:
    """The absolute paths in the container at which args[0] is searched, in order.

    A word with a slash is relative to the working directory, as in execve(2). A word without
    one is searched in PATH and then in the working directory, because images of modules
    rarely set PATH.
    """
    word, _ = split_func(process.args[0])
    if "/" in word:
        return [posixpath.join(process.cwd, word)]
    path = dict(variable.partition("=")[::2] for variable in process.env).get("PATH", "")
    directories = [entry for entry in path.split(":") if entry.startswith("/")]
    return [posixpath.join(entry, word) for entry in [*directories, process.cwd]]


def not_found(process: Process) -> NotFound:
    """The error for an args[0] that none of its candidates matches.

    The text is that of runc: docker and podman search it to set the exit code 127.
    """
    word, _ = split_func(process.args[0])
    why = "no such file or directory in the container" if "/" in word else "executable file not found in $PATH"
    tried = ", ".join(repr(path) for path in candidates(process))
    return NotFound(f"entry point {process.args[0]!r}: {why}: tried {tried}")
