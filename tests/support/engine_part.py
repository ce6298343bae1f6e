"""The native part of an engine, run by tests/native/engine_driver.c, and the same guest by the backend's Python."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pelagos_core.errors import InvalidArgument
from pelagos_core.plugin.entrypoint import Entrypoint, Kind, Preopen, sniff
from pelagos_core.plugin.hookspecs import GuestExit, NativePart, Trap, UnusableCode
from pelagos_core.plugin.limits import Limits
from pelagos_core.plugin.linking import exported
from pelagos_core.plugin.wasi import COMMAND_0_2

ROOT = Path(__file__).parent.parent.parent
FLAGS = "-std=c11 -g -O2 -Wall -Wextra -Werror".split()
SANITIZED = "-fsanitize=address,undefined -fno-sanitize-recover=all".split()
_FAILED, _TRAPPED = 125, 134
_STACK = 1 << 20  # the soft limit that a process begins with, so that it has to be raised


def compiled(directory: Path, sources: list[Path], flags: list[str], *, library: bool = False) -> Path | None:
    """What a compiler makes of some sources; None if it has not what the flags ask for."""
    target = directory / f"{sources[0].stem}{'.so' if library else ''}"
    words = ["cc", *FLAGS, *flags, *(["-fPIC", "-shared", "-fvisibility=hidden"] if library else []), "-o", target]
    words += [f"-I{ROOT / 'native/include'}", *sources, "-ldl"]
    if not shutil.which("cc"):
        return None
    done = subprocess.run(words, capture_output=True, text=True)
    assert not done.returncode or "sanitize" in " ".join(flags), done.stderr
    return None if done.returncode else target


def driver(directory: Path, flags: list[str]) -> Path | None:
    """The driver."""
    return compiled(directory, [ROOT / "tests/native/engine_driver.c"], flags)


@dataclass(frozen=True)
class Outcome:
    """What came of a guest: at which stage, with which number and text, its exit code and what it wrote."""

    stage: str
    number: int
    text: str
    code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True)
class Guest:
    """A module or component, and all that is said of it.

    allowed: bytes that its memories may have at the moment; the limit if it is not said.
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

    def entrypoint(self, directory: Path, code: str = "") -> Entrypoint:
        """What a backend is given. Its file is for the caller to close."""
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
        )
        return replace(made, memory=_Allowed(self.allowed)) if self.allowed is not None else made  # type: ignore[arg-type]

    def options(self, directory: Path) -> list[str]:
        """What the driver is told of it: as the daemon tells the nursery."""
        entrypoint = self.entrypoint(directory)
        limits = {
            "-m": self.limits.memory,
            "-f": self.limits.fuel,
            "-l": self.allowed,
            "-S": self.stack,
            "-A": self.space,
        }
        words = [each for option, value in limits.items() if value for each in (option, str(value))]
        words += ["-C"] if entrypoint.kind is Kind.COMPONENT else []
        lists: Mapping[str, list[str]] = {
            "-a": list(self.args),
            "-e": list(self.env),
            "-c": _calls(entrypoint),
            "-d": [f"{each.name}={each.path}" for each in self.directories],
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


def _calls(entrypoint: Entrypoint) -> list[str]:
    if entrypoint.kind is not Kind.COMPONENT:
        return entrypoint.calls
    if not entrypoint.func:
        return [exported(entrypoint.interface, COMMAND_0_2), "run"]
    owner, _, name = entrypoint.func.rpartition("/")
    return [owner, name] if owner else [name]


def run(program: Path, part: NativePart, guest: Guest, code: Path, directory: Path, *options: str) -> Outcome:
    """By the native part. code: what is compiled; options: more of them for the driver."""
    report = directory / "report"
    report.unlink(missing_ok=True)
    words = [program, *guest.options(directory), *options, part.library, part.engine, part.settings, code, report]
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, env={"ASAN_OPTIONS": "detect_leaks=0"}, timeout=60
    )
    said = report.read_text(errors="replace") if report.exists() else f"died {done.returncode} "
    stage, number, text = said.split(" ", 2)
    return Outcome(stage, int(number), text, done.returncode, done.stdout, done.stderr)


def run_in_python(backend: types.ModuleType, guest: Guest, code: Path | None, directory: Path) -> Outcome:
    """By the backend's `pelagos_spawn`, in a fork. code: None if nothing is compiled ahead."""
    names = [directory / name for name in ("out", "err", "python-report")]
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            for fd, name in enumerate(names[:2], 1):
                os.dup2(os.open(name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY), fd)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os._exit(_spawn(backend, guest, code, directory, names[2]))
        finally:
            os._exit(99)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    stage, number, text = (names[2].read_text() if status in range(256) else f"died {status} ").split(" ", 2)
    return Outcome(stage, int(number), text, status, *(name.read_bytes() for name in names[:2]))


def _spawn(backend: types.ModuleType, guest: Guest, code: Path | None, directory: Path, report: Path) -> int:
    for number, hard in ((resource.RLIMIT_STACK, guest.stack), (resource.RLIMIT_AS, guest.space)):
        if hard:
            resource.setrlimit(number, (_STACK if number == resource.RLIMIT_STACK else hard, hard))
    entrypoint = guest.entrypoint(directory, str(code or ""))
    stage, number, text, status = "load", 0, "", _FAILED
    try:
        workload = backend.pelagos_spawn(None, entrypoint)
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
