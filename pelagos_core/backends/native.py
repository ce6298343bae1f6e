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
NOT_FOUND = 127
CANNOT_RUN = 126
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
    check_function(entrypoint.path, entrypoint.func)
    path = next(filter(_is_executable, (entrypoint.path, *candidates(entrypoint))), "")
    if not path:
        raise not_allowed(entrypoint.path)
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


def check_function(path: str, func: str) -> None:
    """Raises InvalidArgument if there is a function to call: a native program has none. path: for the message."""
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
    """What a program asks to be loaded or read by; empty for none, or if that is named behind its first bytes.

    path: for the message. head: its first bytes. Raises InvalidArgument for a script that names none.
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
        return NOT_FOUND if error.errno == errno.ENOENT else CANNOT_RUN


def _reset_signals() -> None:
    """Give every signal its default action and block none: execve(2) keeps what is ignored."""
    for signum in set(range(1, signal.NSIG)) - {signal.SIGKILL, signal.SIGSTOP}:
        syscalls.default_signal(signum)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
