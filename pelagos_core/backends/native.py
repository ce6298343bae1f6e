"""The backend of native programs: an ELF file or a script, run by execve(2).

A pod's pause container, its sidecars and what `exec` starts in them are native. They get the very
isolation of a Wasm guest, and beyond it what a system call can use: devices, /proc, signals.
It is part of pelagos and no engine: no annotation chooses it or keeps it from a native program.
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

# What a shell, docker and runc tell of a program that is not there, and of one that cannot run.
_NOT_FOUND = 127
_CANNOT_RUN = 126
_MAX_SHEBANG = 256  # binfmt_script reads no further


@hookimpl
def pelagos_detect(entrypoint: Entrypoint) -> Detection | None:
    """Every native program, and nothing else."""
    return Detection.can(100, entrypoint.kind.value) if entrypoint.kind.is_native else None


@hookimpl
def pelagos_spawn(entrypoint: Entrypoint) -> Workload:
    """Check what can be known before Start; the workload becomes the program.

    Raises PermissionDenied if the user may not execute it, NotFound if its interpreter is not
    there, InvalidArgument for a script that names none or a function to call.
    """
    if entrypoint.func:
        raise InvalidArgument(f"exec {entrypoint.path!r}: a native program has no function {entrypoint.func!r} to call")
    path = next(filter(_is_executable, (entrypoint.path, *candidates(entrypoint))), "")
    if not path:
        raise PermissionDenied(f"exec {entrypoint.path!r}: permission denied")
    if path == entrypoint.path:
        _check_interpreter(entrypoint)
    return functools.partial(_become, replace(entrypoint, path=path))


@hookimpl
def pelagos_signal(process: RunningProcess, signum: int) -> bool:
    """Pass every signal on as it is: a native program has handlers of its own."""
    signal.pidfd_send_signal(process.pidfd, signum)
    return True


def _is_executable(path: str) -> bool:
    """Whether this process' user may execute it; another file may stand further on in PATH."""
    return os.path.isfile(path) and os.access(path, os.X_OK, effective_ids=True)


def _check_interpreter(entrypoint: Entrypoint) -> None:
    interpreter = _interpreter(entrypoint)
    if interpreter and not os.path.exists(interpreter):
        text = f"its interpreter {interpreter!r} is not in the container: no such file or directory"
        raise NotFound(f"exec {entrypoint.path!r}: {text}")


def _interpreter(entrypoint: Entrypoint) -> str:
    if entrypoint.kind is Kind.ELF:
        return elf.interpreter(entrypoint.file) or ""
    line = os.pread(entrypoint.file, _MAX_SHEBANG, 0)[2:].partition(b"\n")[0]
    words = line.split()
    if not words:
        raise InvalidArgument(f"exec {entrypoint.path!r}: the script names no interpreter")
    return words[0].decode(errors="surrogateescape")


def _become(entrypoint: Entrypoint) -> int:
    """Run it in place of this process; an exit code if that fails, with a line on stderr."""
    # UTF-8 whatever the daemon's locale: this is how the spec's JSON came.
    words = [word.encode() for word in entrypoint.args]
    environment = {name.encode(): value.encode() for name, value in entrypoint.environment()}
    _reset_signals()
    try:
        os.execve(entrypoint.path, words, environment)  # noqa: S606 (no shell is the point)
    except OSError as error:
        reason = (error.strerror or "").lower()
        with contextlib.suppress(OSError):
            os.write(2, f"pelagos: exec {entrypoint.path!r}: {reason}\n".encode("utf-8", "replace"))
        return _NOT_FOUND if error.errno == errno.ENOENT else _CANNOT_RUN


def _reset_signals() -> None:
    """Give every signal its default action and block none: execve(2) keeps what is ignored."""
    for signum in set(range(1, signal.NSIG)) - {signal.SIGKILL, signal.SIGSTOP}:
        syscalls.default_signal(signum)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
