"""The hooks of a backend, four and a few optional ones, and the words they are written in.

A backend is a module (or object) under the entry-point group `pelagos.backends`:

    from pelagos_core.plugin.hookspecs import Detection, hookimpl

    @hookimpl
    def pelagos_detect(bundle, entrypoint):
        return Detection.can(50, "core module")

    @hookimpl
    def pelagos_spawn(bundle, entrypoint):
        module = my_engine.load(entrypoint.read())      # what is raised here fails Create
        return lambda: module.run(entrypoint.args)      # called at Start, returns the exit code

Import your engine when your module is imported: `spawn` runs in the container, where
the host's files are out of reach. `docs/writing-a-backend.md` has the whole story.

Compatibility: CONTRACT is the version of this contract. Hooks, optional arguments and fields
with defaults are added without a new version; a new one is made when something that a backend
relies on goes or changes its meaning. A backend may state the version that it was written
for as `pelagos_contract`; another version than ours is refused by name when it is loaded.
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

# pluggy ships no types for its decorators' results beyond "the same function".
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

Workload = Callable[[], int]
"""What `spawn` returns: called once at Start, in the container's init process.

It runs the guest to its end and returns the exit code (0-255). File descriptors 0, 1
and 2 are the container's. It may raise GuestExit and Trap; the text of any other exception
goes to the container's stderr and the exit code is 134, as for a trap.
"""


@dataclass(frozen=True, slots=True)
class Server:
    """What `spawn` returns in place of a workload, for a guest that serves.

    run: as a workload, with a function that it calls once connections are accepted: Start is answered then.
        A PelagosError that it raises before that is the error of Start.
    """

    run: Callable[[Callable[[], None]], int]


@dataclass(frozen=True, slots=True)
class RestartingServer:
    """As Server, for one whose program ends and is executed again.

    run: as of Server. Its second function is called before the program is executed again, while none runs: its
        files were removed before its guest ran (`program`), and are there again then. Raises OSError or PelagosError.
    """

    run: Callable[[Callable[[], None], Callable[[], None]], int]


Spawned = Workload | Server | RestartingServer
"""What `spawn` returns."""


class GuestExit(Exception):
    """Raised in a workload: the guest has left by `proc_exit` or `wasi:cli/exit`.

    code: its exit code; what a parent sees of it is the lowest byte, as in wait(2).
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


class Trap(Exception):
    """Raised in a workload: the guest has trapped. Exit code 134.

    The text, message and backtrace, goes to the container's stderr as it is.
    """


class UnusableCode(Exception):
    """Raised in `spawn`: the engine does not take the code at `entrypoint.code`.

    It is thrown away and compiled again, once; then Create fails with the text.
    """


@dataclass(frozen=True, slots=True)
class Description:
    """What a backend is and can.

    engine: the engine's name, for a person. version: the engine's own version.
    form: `embedded` in this Python, or a `program`.
    features: of `claims.FEATURES`; limits: of `claims.LIMITS`.
    deviations: of `claims.WASI_0_1_AREAS`, those in which the engine is known not to do as WASI 0.1 says.
    problem: why it cannot be used here, empty if it can. remedy: how to mend that.
    program: of an engine that is embedded, the version of its program where that is a second form; else empty.
    lacks: what a second form would add that is not there, and how to get it, in one line; else empty.
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
        """Problem and remedy in one line; empty if it can be used."""
        return f"{self.problem}: {self.remedy}" if self.problem and self.remedy else self.problem


@dataclass(frozen=True, slots=True)
class Detection:
    """A backend's answer to: can you run this, how well, and why?

    score: 0 for "no", else 1 to 100. 90 and above: everything that the file asks for;
        50: it runs, with something missing; 10: a last resort. Auto takes the first of the
        node's configured order that can run it; of those that are not in it, the highest
        score, then the name.
    reason: one line for a person, such as `core module, WASI 0.1`.
    program: for an engine that is a command-line program, what it needs of the host; the
        container gets an engine root then, and `entrypoint.file_path` is set in `spawn`.
    imports: what the engine provides: the names of each module, or None for any name; for
        components, the interfaces of each package, as `wasi:io@0.2`. Core checks the file against
        it, and its entry point, so that a yes is one; without it the backend has checked itself.
    worlds: the interfaces of which a component has to export one, for the engine to start it.
    fault: of `reasons`, for a no: whether the file or the backend is at fault.
    kept: whether the answer holds for every container with the same file, function (`entrypoint.func`),
        `entrypoint.limits` and `bundle.has_readonly_files`, for as long as the backend's code, `describe` and
        settings stay: it is not asked for then, see `pelagos_detect`. False if it depends on anything else.
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
        """I can run it. `score` is 1 to 100."""
        return cls(max(1, min(score, 100)), reason, program, imports, worlds)

    @classmethod
    def cannot(cls, reason: str, *, kept: bool = True) -> Detection:
        """I can not, and this is why."""
        return cls(0, reason, kept=kept)


@dataclass(frozen=True, slots=True)
class NativePart:
    """A shared library of the backend's that runs guests in a process without Python.

    library: its path. Its one symbol is `pelagos_engine` (native/include/pelagos_engine.h).
    engine: the path of the engine's own library, which `warm` loads. settings: what else `warm` is given.
    Both files must be root's or this user's, and no other user's to write.
    is_light: whether `warm` takes few milliseconds. Where several backends could be chosen, a pod warms such a one
        first.
    """

    library: str
    engine: str
    settings: str = ""
    is_light: bool = True

    @classmethod
    def of(cls, library: str, engine: str, *, is_light: bool = True) -> NativePart:
        """One whose settings are the identity of the engine's file, by which `warm` knows it (pelagos_part.h).

        Call it once the file has been looked at: one that comes in its place is not loaded. Raises OSError.
        """
        status = os.stat(engine)
        identity = f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"
        return cls(library, engine, identity, is_light)


class RunningProcess(Protocol):
    """What `signal` and `wait` may know of a container's process."""

    @property
    def pid(self) -> int:
        """The process id in the shim's pid namespace."""

    @property
    def pidfd(self) -> int:
        """A pidfd of it (pidfd_open(2)); readable once the process has ended."""

    @property
    def serves(self) -> bool:
        """Whether `spawn` has returned a Server for it."""

    termination_signal: int
    """The signal a SIGKILL stands for, so that 128+n can be reported; 0 for none."""


@hookspec
def pelagos_configure(settings: Mapping[str, object]) -> None:
    """Take the backend's own settings; optional.

    Called once, right after the import, in the process that will serve containers, as root,
    before any container is made: the place to find a program or load a library.

    :param settings: the table `[backends.NAME]` of the node's config, empty if there is none.
        Refuse a key that you do not know: a misspelt setting is worse than none.
    :raises Exception: anything: the backend is left out, with this reason. An engine that is
        merely not there is better reported by `Description.problem`.
    """


@hookspec(firstresult=True)
def pelagos_describe() -> Description | None:
    """Say what this backend is and can; optional.

    After `configure`, on the host, when it is asked for (`pelagos backends`) or a container
    has a limit that the engine must hold. What it does not claim is refused or left to the
    cgroup, never ignored.

    :return: a Description.
    """


@hookspec(firstresult=True)
def pelagos_native() -> NativePart | None:
    """Say where the backend's native part is; optional.

    On the host, after `configure`. It is loaded into a small process that forks a container's, which needs no
    Python then. It runs any entry point for which `detect` says yes without a `program`, as `spawn` would.

    :return: where it is, or None: `spawn` does it.
    :raises Exception: it cannot be used on this node, such as one that was made for another version of the
        engine: the text is shown, and `spawn` does it.
    """


@hookspec
def pelagos_detect(bundle: Bundle, entrypoint: Entrypoint) -> Detection | None:
    """Say whether this backend can run the entry point.

    Every installed backend is asked, in the forked init process, before isolation: the
    host's files are visible, the privileges are the shim's, and no byte of the guest has
    been run. Look, and change nothing. A crash, or more than a few seconds, costs only
    this backend its turn.

    The answer is kept, and that of `code_key` with it: a later container may start without either call. What
    it may depend on is said in `Detection.kept`. If it depends on anything else, such as annotations, words,
    variables, the file's name or another file, say so by `kept=False`: nothing is kept then of a module of
    which this backend was asked.

    :param bundle: the container's bundle; `bundle.spec` is the checked OCI spec.
    :param entrypoint: what is to run; `entrypoint.kind` was read off its bytes,
        `entrypoint.read()` gives them all.
    :return: a Detection, or None for "not mine, and nothing to say about it".
    """


@hookspec(firstresult=True)
def pelagos_code_key(entrypoint: Entrypoint) -> str | None:
    """Say what the compiled code of an entry point depends on; optional, with `compile`.

    In the forked init process, before isolation, as `detect`, with which its answer is kept. Code that was
    compiled under the same key is used again. The module's bytes, this backend's name and version, the engine
    and version of `describe`, and the processor are in the key already: say the rest, such
    as a setting, or a limit for which the engine makes other code. Without this hook it is every
    limit, which is always right and compiles more than needed.

    :param entrypoint: what is to run; its limits are the container's.
    :return: the rest of the key, or None: do not compile this one ahead.
    """


@hookspec(firstresult=True)
def pelagos_compile(entrypoint: Entrypoint) -> bytes | bytearray | memoryview | None:
    """Compile the entry point to what `spawn` will find at `entrypoint.code`; optional.

    In a process that is forked for this alone and ends afterwards: no file system, no network,
    no privileges, no sockets or processes (`engine_profile.COMPILER` has the system calls), limits on
    memory and time that the node sets; threads are welcome. Nothing of
    the container is known here but `kind`, `read()`, `path` (for messages) and `limits`, so
    that what is made can serve every container with the same module.

    :param entrypoint: what is to be compiled.
    :return: the code, in the engine's own form. It is kept in root's cache and given to no
        backend but this one; an image cannot bring any.
    :raises InvalidArgument: what is wrong with the module.
    :raises Exception: anything else is the backend's own fault: Create fails with its text.
    """


@hookspec(firstresult=True)
def pelagos_compiler(entrypoint: Entrypoint) -> Compilation | None:
    """Say with which program the entry point is compiled; optional, in place of `compile`.

    For an engine that is a program; `ProgramBackend` has it. In the compile service, as root: say so, and run
    nothing. The program is run once, in the same confinement as `compile`, in a root that has its own
    files, the module and a `/tmp`, by an execve(2) after which it can make no other process
    (`engine_profile.COMPILER_PROGRAM`). In `spawn`, `entrypoint.code` is the path of the code in the
    engine root then, in the place of the module: it is what the engine opens.

    :param entrypoint: what is to be compiled, as for `compile`.
    :return: how, or None: `compile` does it.
    """


@hookspec(firstresult=True)
def pelagos_spawn(bundle: Bundle, entrypoint: Entrypoint) -> Workload | Server | None:
    """Load and check the entry point; return the workload that Start will call.

    Only the chosen backend is asked, in the container's init process, after isolation:
    `/` is the container's root file system and the credentials are the container's.
    Compile and check imports now, run nothing of the guest until the workload is called.

    With a `compile` hook, `entrypoint.code` is the path of what that has made: a file that all
    containers with this module share, so map it rather than read it. The path is relative, and
    good until this hook returns.

    :param bundle: the container's bundle.
    :param entrypoint: what is to run, with args, env and cwd.
    :return: the workload, or a Server.
    :raises UnusableCode: the engine does not take the code.
    :raises Exception: anything else: Create fails with its text. A subclass of
        `pelagos_core.errors.PelagosError` also chooses the status code.
    """


@hookspec(firstresult=True)
def pelagos_signal(process: RunningProcess, signum: int) -> bool | None:
    """Deliver a signal to a process of this backend.

    In the shim's daemon, as root; must return at once: one that has not done so after a second
    is interrupted, and the built-in one takes over. That ends a guest at
    once for each signal whose default is to end a process (exit code 128+signum), since a
    Wasm guest has no handlers and the kernel shields pid 1 from signals without one.

    :param process: the process; it was started and has not been reaped.
    :param signum: 1 to 64.
    :return: True if it was dealt with, None to leave it to the built-in one.
    """


@hookspec(firstresult=True)
def pelagos_wait(process: RunningProcess) -> Awaitable[ExitStatus] | None:
    """Wait for the end of a process of this backend.

    In the shim's daemon, on its event loop; must not block. The built-in one reaps the
    process by its pidfd and reports its exit code, or 128+n for death by signal n.

    A hook that fails, keeps the event loop for a second, or has no answer two seconds after the
    end, is replaced by the built-in one, if it has left the process to be reaped.

    :param process: the process.
    :return: an awaitable of its exit status, or None to leave it to the built-in one.
    """
