"""The backend of native programs: an ELF file or a script, run by execve(2).

A pod's pause container, its sidecars and their execs are native. They get the same isolation
as a Wasm guest, plus what is usable by system calls only: devices, /proc, signals.
It is part of pelagos and not an engine: no annotation can select or exclude it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import signal
from dataclasses import replace

from pelagos_core.errors import InvalidArgument, NotFound, PermissionDenied
from pelagos_core.linux import syscalls
from pelagos_core.plugin import elf
from pelagos_core.plugin.entrypoint import Entrypoint, Kind, candidates
from pelagos_core.plugin.hookspecs import Detection, RunningProcess, Workload, hookimpl

NAME = "native"

# The exit codes of shells, docker and runc for a missing program, and for one that cannot be executed.
NOT_FOUND = 127
CANNOT_RUN = 126
_MAX_SHEBANG = 256  # the limit of the kernel's binfmt_script


@hookimpl
def pelagos_detect(entrypoint: Entrypoint) -> Detection | None:
    """Accept every native program and nothing else."""
    return Detection.can(100, entrypoint.kind.value) if entrypoint.kind.is_native else None


@hookimpl
def pelagos_spawn(entrypoint: Entrypoint) -> Workload:
    """Check all that can be checked before Start; the workload executes the program.

    Raises PermissionDenied if the user may not execute it, NotFound if its interpreter is
    missing, InvalidArgument for a script without an interpreter and for a function to call.
    """
    check_function(entrypoint.path, entrypoint.func)
    path = next(filter(_is_executable, (entrypoint.path, *candidates(entrypoint))), "")
    if not path:
        raise not_allowed(entrypoint.path)
    if path == entrypoint.path:
        _check_interpreter(entrypoint)
    return functools.partial(_become, replace(entrypoint, path=path))


@hookimpl
def pelagos_signal(process: RunningProcess, signum: int) -> bool:
    """Deliver every signal unchanged: a native program may have handlers."""
    signal.pidfd_send_signal(process.pidfd, signum)
    return True


def _is_executable(path: str) -> bool:
    """Whether this process' user may execute the file; else the search goes on along PATH."""
    return os.path.isfile(path) and os.access(path, os.X_OK, effective_ids=True)


def check_function(path: str, func: str) -> None:
    """Raise InvalidArgument if there is a function to call: a native program has none. path: for the message."""
    if func:
        raise InvalidArgument(f"exec {path!r}: a native program has no function {func!r} to call")


def not_allowed(path: str) -> PermissionDenied:
    """The error for a program that its user may not execute."""
    return PermissionDenied(f"exec {path!r}: permission denied")


def no_interpreter(path: str, interpreter: str) -> NotFound:
    """The error for a program whose interpreter is missing."""
    text = f"its interpreter {interpreter!r} is not in the container: no such file or directory"
    return NotFound(f"exec {path!r}: {text}")


def interpreter(path: str, head: bytes) -> str:
    """The interpreter of a program (ELF or script); empty if it has none, or if the path is not within `head`.

    path: for the message. head: its first bytes. Raises InvalidArgument for a script without an interpreter.
    """
    if head[:2] != b"#!":
        return elf.interpreter_in(head) or ""
    words = head[2:_MAX_SHEBANG].partition(b"\n")[0].split()
    if not words:
        raise InvalidArgument(f"exec {path!r}: the script names no interpreter")
    return words[0].decode(errors="surrogateescape")


def _check_interpreter(entrypoint: Entrypoint) -> None:
    if entrypoint.kind is Kind.ELF:
        wanted = elf.interpreter(entrypoint.file) or ""
    else:
        wanted = interpreter(entrypoint.path, os.pread(entrypoint.file, _MAX_SHEBANG, 0))
    if wanted and not os.path.exists(wanted):
        raise no_interpreter(entrypoint.path, wanted)


def _become(entrypoint: Entrypoint) -> int:
    """Execute the program in this process; on failure write a line to stderr and return an exit code."""
    # UTF-8, the encoding of the spec's JSON, independent of the daemon's locale.
    words = [word.encode() for word in entrypoint.args]
    environment = {name.encode(): value.encode() for name, value in entrypoint.environment()}
    _reset_signals()
    try:
        os.execve(entrypoint.path, words, environment)  # noqa: S606 (no shell is the point)
    except OSError as error:
        reason = (error.strerror or "").lower()
        with contextlib.suppress(OSError):
            os.write(2, f"pelagos: exec {entrypoint.path!r}: {reason}\n".encode("utf-8", "replace"))
        return NOT_FOUND if error.errno == errno.ENOENT else CANNOT_RUN


def _reset_signals() -> None:
    """Restore every signal's default action and unblock all: execve(2) keeps ignored and blocked signals."""
    for signum in set(range(1, signal.NSIG)) - {signal.SIGKILL, signal.SIGSTOP}:
        syscalls.default_signal(signum)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
