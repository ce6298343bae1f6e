"""The hooks of a backend: two required ones, the optional ones, and the types that they take and return.

A backend is a module (or object) under the entry-point group `pelagos.backends`:

    from pelagos_core.plugin.hookspecs import Detection, hookimpl

    @hookimpl
    def pelagos_detect(bundle, entrypoint):
        return Detection.can(50, "core module")

    @hookimpl
    def pelagos_spawn(bundle, entrypoint):
        module = my_engine.load(entrypoint.read())      # an exception here fails Create
        return lambda: module.run(entrypoint.args)      # called at Start, returns the exit code

Import your engine at the top of your module: `spawn` runs inside the container, where it
cannot read the host's files. `docs/writing-a-backend.md` explains the contract step by step.

Compatibility: CONTRACT is the version of this contract. New hooks, optional arguments and
fields with defaults do not change the version. It changes when something that backends rely
on is removed or gets another meaning. A backend may set `pelagos_contract` to the version
that it was written for; a backend with another version is refused when it is loaded, with an
error that names it.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pluggy

from pelagos_core import reasons
from pelagos_core.plugin import wasi

if TYPE_CHECKING:
    from pelagos_core.exit_status import ExitStatus
    from pelagos_core.plugin.bundle import Bundle
    from pelagos_core.plugin.entrypoint import Entrypoint
    from pelagos_core.plugin.linking import Imports
    from pelagos_core.plugin.program import Compilation, Program

CONTRACT = 1
PROJECT = "pelagos"
ENTRY_POINT_GROUP = "pelagos.backends"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

Workload = Callable[[], int]
"""What `spawn` returns: a function that is called once, at Start, in the container's init process.

It runs the guest until the guest ends, and returns the exit code (0-255). File descriptors 0, 1
and 2 are the container's streams. It may raise GuestExit and Trap. For any other exception, the
text is written to the container's stderr and the exit code is 134, as for a trap.
"""


@dataclass(frozen=True, slots=True)
class Server:
    """What `spawn` returns instead of a workload if the guest is a server.

    run: like a workload, but takes a function. It calls this function when the guest accepts connections; Start
        returns at that moment. If `run` raises a PelagosError before that, Start fails with it.
    """

    run: Callable[[Callable[[], None]], int]


@dataclass(frozen=True, slots=True)
class RestartingServer:
    """A Server whose program may exit and be executed again.

    run: like `Server.run`, with a second function. It must call that function each time before it executes the
        program again, and while the program is not running. The function restores the program's files in the
        engine root, which were removed before the guest ran (see `program`). It raises OSError or PelagosError.
    """

    run: Callable[[Callable[[], None], Callable[[], None]], int]


Spawned = Workload | Server | RestartingServer
"""Everything that `spawn` may return."""


class GuestExit(Exception):
    """Raised by a workload: the guest has called `proc_exit` or `wasi:cli/exit`.

    code: the guest's exit code. The container's exit code is its lowest byte, as in wait(2).
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


class Trap(Exception):
    """Raised by a workload: the guest has trapped. The exit code is 134.

    The text (message and backtrace) is written to the container's stderr unchanged.
    """


class UnusableCode(Exception):
    """Raised by `spawn`: the engine refuses the compiled code at `entrypoint.code`.

    The code is deleted and compiled again, once. If the engine refuses the new code too, Create fails
    with the text of this exception.
    """


@dataclass(frozen=True, slots=True)
class Description:
    """What a backend is, and what it claims to support.

    engine: the engine's name, for messages.
    version: the engine's own version.
    form: `embedded` for a library in this Python process, or `program` for a command-line program.
    features: a subset of `claims.FEATURES`.
    limits: a subset of `claims.LIMITS`.
    deviations: a subset of `claims.WASI_0_1_AREAS`: areas in which the engine is known to differ from WASI 0.1.
    problem: why the backend cannot be used on this node; empty if it can.
    remedy: how to solve the problem.
    program: the version of the engine's program, if an embedded engine has one as a second form; else empty.
    lacks: what a missing second form would add, and how to install it, in one line; else empty.
    """

    engine: str = ""
    version: str = ""
    form: str = ""
    features: frozenset[str] = frozenset()
    limits: frozenset[str] = frozenset()
    problem: str = ""
    remedy: str = ""
    deviations: frozenset[str] = frozenset()
    program: str = ""
    lacks: str = ""

    @property
    def obstacle(self) -> str:
        """Problem and remedy in one line; empty if the backend can be used."""
        return f"{self.problem}: {self.remedy}" if self.problem and self.remedy else self.problem


@dataclass(frozen=True, slots=True)
class Detection:
    """Whether a backend can run an entry point, how well, and why.

    score: 0 if it cannot, else 1 to 100. 90 and above: the engine supports everything that the file needs;
        50: it runs, but a feature is missing; 10: a last resort. The choice `auto` takes the first backend
        of the node's configured order that can run the file. Backends that are not in that order follow,
        by score, highest first, then by name.
    reason: one line for messages, such as `core module, WASI 0.1`.
    program: the files that the engine needs from the host, if it is a command-line program. The container
        then gets an engine root, and `entrypoint.file_path` is set in `spawn`.
    imports: what the engine provides: for each module the names that may be imported, or None for any name;
        for components, the interfaces of each package, such as `wasi:io@0.2`. Core compares the file's imports
        and its entry point with it. None: core does not compare, and the backend must have checked them.
    worlds: interfaces; a component must export one of them to be started.
    fault: one of `reasons`, if the score is 0: says whether the file or the backend is the cause.
    kept: whether the result is the same for every container with the same file, function (`entrypoint.func`),
        `entrypoint.limits` and `bundle.has_readonly_files`, as long as the backend's code, its description and
        its settings do not change. Core then stores it and does not call `pelagos_detect` again. Set it to
        False if the result depends on anything else.
    """

    score: int
    reason: str
    program: Program | None = None
    imports: Imports | None = None
    worlds: Collection[str] = (wasi.COMMAND_0_2,)
    fault: str = reasons.ENGINE_UNFIT
    kept: bool = True

    @classmethod
    def can(
        cls,
        score: int,
        reason: str,
        program: Program | None = None,
        imports: Imports | None = None,
        worlds: Collection[str] = (wasi.COMMAND_0_2,),
    ) -> Detection:
        """A result that says: this backend can run the file. `score` is 1 to 100; see the class for the rest."""
        return cls(max(1, min(score, 100)), reason, program, imports, worlds)

    @classmethod
    def cannot(cls, reason: str, *, kept: bool = True) -> Detection:
        """A result that says: this backend cannot run the file, for this reason."""
        return cls(0, reason, kept=kept)


@dataclass(frozen=True, slots=True)
class NativePart:
    """A backend's shared library that runs guests in a process without Python.

    Both files must belong to root or to the current user, and no other user may have write permission.

    library: its path. It exports one symbol, `pelagos_engine` (native/include/pelagos_engine.h).
    engine: the path of the engine's own library, which the function `warm` loads.
    settings: a text that is passed to `warm`.
    is_light: whether `warm` takes only a few milliseconds. If several backends may be chosen, a pod warms a light
        one first.
    """

    library: str
    engine: str
    settings: str = ""
    is_light: bool = True

    @classmethod
    def of(cls, library: str, engine: str, *, is_light: bool = True) -> NativePart:
        """A native part whose settings identify the engine's file, so that `warm` can check it (pelagos_part.h).

        Call it after you have checked the file: if the file is replaced later, `warm` refuses to load it.
        The settings are the file's device, inode, size in bytes and modification time in nanoseconds.
        Raises OSError if the file cannot be read.
        """
        status = os.stat(engine)
        identity = f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"
        return cls(library, engine, identity, is_light)


class RunningProcess(Protocol):
    """A container's process, as the hooks `signal` and `wait` see it."""

    @property
    def pid(self) -> int:
        """The process id in the shim's pid namespace."""

    @property
    def pidfd(self) -> int:
        """A pidfd of the process (pidfd_open(2)); it is readable when the process has ended."""

    @property
    def serves(self) -> bool:
        """Whether `spawn` returned a Server for this process."""

    termination_signal: int
    """The signal n that was delivered as SIGKILL, so that the exit code is 128+n; 0 if none was."""


@hookspec
def pelagos_configure(settings: Mapping[str, object]) -> None:
    """Read the backend's settings; optional.

    Called once, directly after the import, as root, in the process that creates containers, before it
    creates any. Find the engine's program or load its library here.

    :param settings: the table `[backends.NAME]` of the node's config; empty if there is none.
        Refuse unknown keys: otherwise a misspelt setting has no effect and no error.
    :raises Exception: any exception disables the backend, with the exception's text as the reason. If
        only the engine is missing, return it as `Description.problem` instead.
    """


@hookspec(firstresult=True)
def pelagos_describe() -> Description | None:
    """Return what this backend is and what it supports; optional.

    Called on the host, after `configure`, when `pelagos backends` runs or a container has a limit that the
    engine must enforce. A limit that the backend does not claim is refused or enforced by the cgroup; it is
    never ignored.

    :return: a Description.
    """


@hookspec(firstresult=True)
def pelagos_native() -> NativePart | None:
    """Return where the backend's native part is; optional.

    Called on the host, after `configure`. The native part is loaded into a small process without Python, which
    forks the containers' init processes. It must run every entry point for which `detect` returns a positive
    score without a `program`, in the same way as `spawn`.

    :return: the native part, or None to use `spawn`.
    :raises Exception: the native part cannot be used on this node, for example because it was built for another
        version of the engine. The exception's text is shown, and `spawn` is used.
    """


@hookspec
def pelagos_detect(bundle: Bundle, entrypoint: Entrypoint) -> Detection | None:
    """Return whether this backend can run the entry point.

    Called for every installed backend, in the forked init process, before isolation: the host's files
    are visible, the process has the shim's privileges, and no guest code has run. The hook must not change
    anything. If it fails, crashes or takes more than a few seconds, only this backend is not chosen.

    The results of this hook and of `code_key` are stored: a later container may start without these calls.
    `Detection.kept` lists what they may depend on. If your result depends on anything else, such as
    annotations, arguments, environment variables, the file's name or another file, return it with
    `kept=False`; then nothing is stored for a module for which this hook was called.

    :param bundle: the container's bundle; `bundle.spec` is the checked OCI spec.
    :param entrypoint: the file to run; `entrypoint.kind` is determined from its content, and
        `entrypoint.read()` returns all of it.
    :return: a Detection, or None if the file does not concern this backend.
    """


@hookspec(firstresult=True)
def pelagos_code_key(entrypoint: Entrypoint) -> str | None:
    """Return what the compiled code of an entry point depends on; optional, used with `compile`.

    Called in the forked init process, before isolation, like `detect`; both results are stored together.
    Code that was compiled with the same key is reused. The key already contains the module's bytes, this
    backend's name and version, the engine and version of `describe`, and the processor. Return everything
    else, such as a setting, or a limit that changes the generated code. Without this hook, all limits are
    part of the key: this is always correct, but compiles more often than necessary.

    :param entrypoint: the file to run; its limits are the container's.
    :return: the rest of the key, or None to not compile this file ahead of time.
    """


@hookspec(firstresult=True)
def pelagos_compile(entrypoint: Entrypoint) -> bytes | bytearray | memoryview | None:
    """Compile the entry point to the code that `spawn` reads at `entrypoint.code`; optional.

    Called in a process that is forked for one compilation. This process has no file system, no network and
    no privileges, and can create no sockets or processes (`engine_profile.COMPILER` lists the system calls);
    the node's config limits its memory and time. It may create threads. Of the container, only `kind`,
    `read()`, `path` (for messages) and `limits` are set, so that the code is valid for every container with
    the same module.

    :param entrypoint: the file to compile.
    :return: the code, in the engine's own format. It is stored in a cache that belongs to root, and only this
        backend gets it back. An image cannot supply code.
    :raises InvalidArgument: the module is not valid; the text says why.
    :raises Exception: any other exception is a fault of the backend: Create fails with its text.
    """


@hookspec(firstresult=True)
def pelagos_compiler(entrypoint: Entrypoint) -> Compilation | None:
    """Return the program that compiles the entry point; optional, instead of `compile`.

    For an engine that is a command-line program; `ProgramBackend` implements it. Called in the compile service,
    as root; it must not execute the program itself. Core executes the program once, confined like `compile`, in
    a root directory that contains only the program's files, the module and `/tmp`. The program can create no
    other process (`engine_profile.COMPILER_PROGRAM` lists the system calls). In `spawn`, `entrypoint.code` is then
    the path of the compiled code in the engine root. It replaces the module: the engine opens this file.

    :param entrypoint: the file to compile, as for `compile`.
    :return: the program and its arguments, or None to use `compile`.
    """


@hookspec(firstresult=True)
def pelagos_spawn(bundle: Bundle, entrypoint: Entrypoint) -> Workload | Server | None:
    """Load and check the entry point; return the workload that Start calls.

    Called for the chosen backend only, in the container's init process, after isolation: `/` is the
    container's root file system, and the process has the container's credentials. Compile the module and
    check its imports here. Do not run any guest code before the workload is called.

    With a `compile` hook, `entrypoint.code` is the path of the compiled code. All containers with this module
    share this file, so map it instead of reading it. The path is relative, and valid until this hook returns.

    :param bundle: the container's bundle.
    :param entrypoint: the file to run, with args, env and cwd.
    :return: the workload, or a Server.
    :raises UnusableCode: the engine refuses the compiled code.
    :raises Exception: Create fails with the exception's text. A subclass of
        `pelagos_core.errors.PelagosError` also sets the status code.
    """


@hookspec(firstresult=True)
def pelagos_signal(process: RunningProcess, signum: int) -> bool | None:
    """Deliver a signal to a process of this backend; optional.

    Called in the shim's daemon, as root. It must return at once: after one second it is interrupted, and
    the built-in hook is used. The built-in hook kills the guest for each signal whose default action is to
    terminate a process (exit code 128+signum): a Wasm guest has no signal handlers, and the kernel does not
    deliver such signals to pid 1 of a pid namespace.

    :param process: the process; it was started and has not been reaped.
    :param signum: the signal's number, 1 to 64.
    :return: True if the signal was delivered, None to use the built-in hook.
    """


@hookspec(firstresult=True)
def pelagos_wait(process: RunningProcess) -> Awaitable[ExitStatus] | None:
    """Wait until a process of this backend has ended; optional.

    Called in the shim's daemon, on its event loop; it must not block. The built-in hook reaps the process by
    its pidfd and returns its exit code, or 128+n if signal n killed it.

    The built-in hook is used instead if this hook fails, blocks the event loop for one second, or has not
    returned two seconds after the process has ended. This hook must not have reaped the process then.

    :param process: the process.
    :return: an awaitable of the exit status, or None to use the built-in hook.
    """
