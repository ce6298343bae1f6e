"""Runs a guest by an engine's native part, with tests/native/engine_driver.c, or by the backend's Python code."""

from __future__ import annotations

import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pelagos_core.errors import InvalidArgument
from pelagos_core.plugin import linking, sockets
from pelagos_core.plugin.entrypoint import Entrypoint, Kind, Preopen, sniff
from pelagos_core.plugin.hookspecs import GuestExit, NativePart, Trap, UnusableCode, Workload
from pelagos_core.plugin.limits import Limits
from tests.support import c_program

ROOT = Path(__file__).parent.parent.parent
_FAILED, _TRAPPED = 125, 134
_Load = Callable[[Entrypoint], Workload]
_STACK = 1 << 20  # the initial soft limit of a process, low enough that it must be raised


def compiled(directory: Path, sources: Sequence[Path], *, sanitized: bool) -> tuple[Path, Path]:
    """Compile the driver and a native part from these sources; return their paths."""
    make = c_program.sanitized if sanitized else c_program.compiled
    driver = make(directory / "driver", [ROOT / "tests/native/engine_driver.c"], "-ldl")
    part = make(directory / "engine.so", sources, "-fPIC", "-shared", "-fvisibility=hidden", "-ldl")
    return driver, part


@dataclass(frozen=True)
class Outcome:
    """The result of a guest: the last stage, its number and text, the exit code and the output."""

    stage: str
    number: int
    text: str
    code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True)
class Guest:
    """A module or component and its parameters.

    allowed: the current limit of its memories in bytes; by default the fixed limit.
    stack, space: hard limits of its process, RLIMIT_STACK and RLIMIT_AS.
    """

    data: bytes
    func: str = ""
    args: tuple[str, ...] = ("guest",)
    env: tuple[str, ...] = ()
    directories: tuple[Preopen, ...] = ()
    limits: Limits = field(default_factory=Limits)
    allowed: int | None = None
    stack: int = 0
    space: int = 0
    network: bool = False

    def entrypoint(self, directory: Path, code: str = "") -> Entrypoint:
        """The entry point for a backend. The caller closes its file."""
        path = directory / "module"
        path.write_bytes(self.data)
        made = Entrypoint(
            kind=sniff(self.data),
            path="/guest.wasm",
            func=self.func,
            args=self.args,
            env=self.env,
            cwd="/",
            file=os.open(path, os.O_RDONLY),
            limits=self.limits,
            directories=self.directories,
            code=code,
            network=self.network,
        )
        return replace(made, memory=_Allowed(self.allowed)) if self.allowed is not None else made  # type: ignore[arg-type]

    def options(self, directory: Path) -> list[str]:
        """The driver's options for the guest, with the same values as the daemon sends to the nursery."""
        entrypoint = self.entrypoint(directory)
        limits = {
            "-m": self.limits.memory,
            "-f": self.limits.fuel,
            "-l": self.allowed,
            "-S": self.stack,
            "-A": self.space,
        }
        words = [each for option, value in limits.items() if value for each in (option, str(value))]
        words += ["-N"] if self.network else []
        words += ["-C"] if entrypoint.kind is Kind.COMPONENT else []
        lists: Mapping[str, list[str]] = {
            "-a": list(self.args),
            "-e": list(self.env),
            "-c": _calls(entrypoint),
            "-d": [f"{each.name}={each.path}" for each in self.directories],
            "-s": list(_sockets(entrypoint)),
            "-i": [str(size) for size in _memories(entrypoint)],
        }
        os.close(entrypoint.file)
        return words + [each for option, values in lists.items() for value in values for each in (option, value)]


class _Allowed:
    def __init__(self, size: int) -> None:
        self._size = size

    def allows(self, size: int) -> bool:
        return size <= self._size


def _memories(entrypoint: Entrypoint) -> tuple[int, ...]:
    try:
        return tuple(min(size, (1 << 64) - 1) for size in entrypoint.interface.memories)
    except InvalidArgument:
        return ()


def _sockets(entrypoint: Entrypoint) -> tuple[str, ...]:
    try:
        return sockets.asked_for(entrypoint.interface)
    except InvalidArgument:
        return ()


def _calls(entrypoint: Entrypoint) -> list[str]:
    if entrypoint.kind is not Kind.COMPONENT:
        return entrypoint.calls
    return linking.function_paths(entrypoint.interface, entrypoint.func)[0]


def run(
    program: Sequence[str | Path], part: NativePart, guest: Guest, code: Path | None, directory: Path, *options: str
) -> Outcome:
    """Run a guest by the native part.

    program: the words that start the driver. options: further ones. code: the compiled code; None to load the module.
    """
    report = directory / "report"
    report.unlink(missing_ok=True)
    words = [*program, *guest.options(directory), *options]
    words += [] if code else ["-w", directory / "module"]
    words += [part.library, part.engine, part.settings, code or "", report]
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, env={"ASAN_OPTIONS": "detect_leaks=0"}, timeout=60
    )
    return _outcome(report, done.returncode, done.stdout, done.stderr)


def run_in_python(load: _Load, guest: Guest, code: Path | None, directory: Path) -> Outcome:
    """Run a guest like a backend's `pelagos_spawn`, in a child. code: the compiled code; None to load the module."""
    names = [directory / name for name in ("out", "err", "python-report")]
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            for fd, name in enumerate(names[:2], 1):
                os.dup2(os.open(name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY), fd)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os._exit(spawn(load, guest, code, directory, names[2]))
        finally:
            os._exit(99)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return _outcome(names[2], status, *(name.read_bytes() for name in names[:2]))


def run_by_interpreter(python: str, load: str, guest: Guest, code: Path | None, directory: Path) -> Outcome:
    """Like `run_in_python`, by another interpreter. load: statements that define `load`."""
    report = directory / "python-report"
    report.unlink(missing_ok=True)
    program = f"import pickle, sys; from tests.support.engine_part import spawn; {load}"
    program += "; sys.exit(spawn(load, *pickle.loads(bytes.fromhex(sys.argv[1]))))"
    given = pickle.dumps((guest, code, directory, report)).hex()
    done = subprocess.run([python, "-c", program, given], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True)
    return _outcome(report, done.returncode, done.stdout, done.stderr)


def _outcome(report: Path, status: int, stdout: bytes, stderr: bytes) -> Outcome:
    said = report.read_text(errors="replace") if report.exists() else f"died {status} "
    stage, number, text = said.split(" ", 2)
    return Outcome(stage, int(number), text, status, stdout, stderr)


def spawn(load: _Load, guest: Guest, code: Path | None, directory: Path, report: Path) -> int:
    """Load and run a guest in this process, and write a report; return the exit code for the process."""
    for number, hard in ((resource.RLIMIT_STACK, guest.stack), (resource.RLIMIT_AS, guest.space)):
        if hard:
            resource.setrlimit(number, (_STACK if number == resource.RLIMIT_STACK else hard, hard))
    entrypoint = guest.entrypoint(directory, str(code or ""))
    stage, number, text, status = "load", 0, "", _FAILED
    try:
        workload = load(entrypoint)
        stage, number, status = "run", *(2 * [workload() & 0xFF])
    except UnusableCode as error:
        number, text = -116, str(error)  # ESTALE
    except InvalidArgument as error:
        number, text = -22, error.message.removeprefix(f"{entrypoint.path!r} ")  # EINVAL
    except GuestExit as error:
        stage, number, status = "run", *(2 * [error.code & 0xFF])
    except Trap as error:
        stage, number, text, status = "run", -1, str(error), _TRAPPED
    report.write_text(f"{stage} {number} {text}")
    return status
