"""The four hooks of a backend, and the words they are written in.

A backend is a module (or object) under the entry-point group `pelagos.backends`:

    from pelagos_core.hookspecs import Detection, hookimpl

    @hookimpl
    def pelagos_detect(bundle, entrypoint):
        return Detection.can(50, "core module")

    @hookimpl
    def pelagos_spawn(bundle, entrypoint):
        module = my_engine.load(entrypoint.read())      # what is raised here fails Create
        return lambda: module.run(entrypoint.args)      # called at Start, returns the exit code

Import your engine when your module is imported: `spawn` runs in the container, where
the host's files are out of reach.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pluggy

if TYPE_CHECKING:
    from pelagos_core.bundle import Bundle
    from pelagos_core.entrypoint import Entrypoint
    from pelagos_core.exit_status import ExitStatus

PROJECT = "pelagos"
ENTRY_POINT_GROUP = "pelagos.backends"

# pluggy ships no types for its decorators' results beyond "the same function".
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

Workload = Callable[[], int]
"""What `spawn` returns: called once at Start, in the container's init process.

It runs the guest to its end and returns the exit code (0-255). File descriptors 0, 1
and 2 are the container's. It may raise: the text goes to the container's stderr and the
exit code is 134, as for a trap.
"""


@dataclass(frozen=True, slots=True)
class Detection:
    """A backend's answer to: can you run this, how well, and why?

    score: 0 for "no", else 1 to 100; Auto takes the highest.
    reason: one line for a person, such as `core module, WASI 0.1`.
    """

    score: int
    reason: str

    @classmethod
    def can(cls, score: int, reason: str) -> Detection:
        """I can run it. `score` is 1 to 100: 100 all features, 50 runs, 1 a last resort."""
        return cls(max(1, min(score, 100)), reason)

    @classmethod
    def cannot(cls, reason: str) -> Detection:
        """I can not, and this is why."""
        return cls(0, reason)


class RunningProcess(Protocol):
    """What `signal` and `wait` may know of a container's process."""

    @property
    def pid(self) -> int:
        """The process id in the shim's pid namespace."""

    @property
    def pidfd(self) -> int:
        """A pidfd of it (pidfd_open(2)); readable once the process has ended."""

    termination_signal: int
    """The signal a SIGKILL stands for, so that 128+n can be told; 0 for none."""


@hookspec
def pelagos_detect(bundle: Bundle, entrypoint: Entrypoint) -> Detection | None:
    """Say whether this backend can run the entry point.

    Every installed backend is asked, in the forked init process, before isolation: the
    host's files are visible, the privileges are the shim's, and no byte of the guest has
    been run. Look, and change nothing. A crash, or more than a few seconds, costs only
    this backend its turn.

    :param bundle: the container's bundle; `bundle.spec` is the checked OCI spec.
    :param entrypoint: what is to run; `entrypoint.kind` was read off its bytes,
        `entrypoint.read()` gives them all.
    :return: a Detection, or None for "not mine, and nothing to say about it".
    """


@hookspec(firstresult=True)
def pelagos_spawn(bundle: Bundle, entrypoint: Entrypoint) -> Workload | None:
    """Load and check the entry point; return the workload that Start will call.

    Only the chosen backend is asked, in the container's init process, after isolation:
    `/` is the container's root file system and the credentials are the container's.
    Compile and check imports now, run nothing of the guest until the workload is called.

    :param bundle: the container's bundle.
    :param entrypoint: what is to run, with args, env and cwd.
    :return: the workload.
    :raises Exception: anything: Create fails with its text. A subclass of
        `pelagos_core.errors.PelagosError` also chooses the status code.
    """


@hookspec(firstresult=True)
def pelagos_signal(process: RunningProcess, signum: int) -> bool | None:
    """Deliver a signal to a process of this backend.

    In the shim's daemon, as root; must return at once. The built-in one ends a guest at
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
    process by its pidfd and tells its exit code, or 128+n for death by signal n.

    A hook that fails, or has no answer two seconds after the end, is replaced by the built-in
    one, if it has left the process to be reaped.

    :param process: the process.
    :return: an awaitable of its exit status, or None to leave it to the built-in one.
    """
