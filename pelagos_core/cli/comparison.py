"""The comparison of one program on several backends: results, times and differences."""

from __future__ import annotations

import difflib
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from pelagos_core.cli import exit_codes

MAX_BYTES = 64 << 20  # of a stream are compared; beyond them only the length is
_DIFF_LINES = 10_000  # the longest stream for which differing lines are shown
_END_SECONDS = 10.0  # for `pelagos run` to end its program
_NOT_RUN = (exit_codes.FAILED, exit_codes.CANNOT_INVOKE, exit_codes.NOT_FOUND)
# The reason for which a program was not run, without the text about the choice of the backend.
_REASON = re.compile(
    r"^pelagos: run: (?:container '[^']*': )?(?:.*, asked for by --backend, cannot run it: )?(?P<why>.*?)"
    r"(?: \(installed: [^)]*\))?(?P<name>(?: \[PLG-[A-Z-]+\])?)$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Run:
    """One run. seconds: the duration of the whole command. code: None if it has not ended in time."""

    code: int | None
    seconds: float
    stdout: bytes
    stderr: bytes

    @property
    def result(self) -> tuple[int | None, bytes]:
        """The part that must be equal on all engines; stderr is not, because each engine words traps differently."""
        return self.code, self.stdout


@dataclass(frozen=True, slots=True)
class Outcome:
    """The runs on one backend. The first is separate, because it may compile. problem: why there are none, or ""."""

    backend: str
    runs: tuple[Run, ...] = ()
    problem: str = ""

    @property
    def first(self) -> Run:
        """The first run; it exists if there is no problem."""
        return self.runs[0]

    @property
    def median(self) -> float | None:
        """The median of the later runs, in seconds; None if there are none."""
        return statistics.median(run.seconds for run in self.runs[1:]) if len(self.runs) > 1 else None

    @property
    def is_steady(self) -> bool:
        """Whether all its runs have the same result."""
        return len({run.result for run in self.runs}) <= 1

    def differences(self, other: Outcome) -> list[str]:
        """The names of differences to another outcome: `exit code`, `stdout`, `stderr`."""
        own, its = self.first, other.first
        is_trap = exit_codes.TRAP in (own.code, its.code)
        found = {
            "exit code": own.code != its.code,
            "stdout": own.stdout != its.stdout,
            "stderr": own.stderr != its.stderr and not is_trap,
        }
        return [what for what, differs in found.items() if differs]


@dataclass
class Comparison:
    """All outcomes. The others are compared with the first one that has run."""

    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def able(self) -> list[Outcome]:
        """The outcomes of backends that have run the program."""
        return [outcome for outcome in self.outcomes if not outcome.problem]

    def differing(self) -> dict[str, list[str]]:
        """The differences of each backend that differs from the first one."""
        able = self.able
        found = {each.backend: each.differences(able[0]) for each in able[1:]}
        return {name: what for name, what in found.items() if what}

    def agrees(self) -> bool:
        """Whether at least one backend has run the program, and all exit codes and stdouts are equal."""
        decisive = (set(what) - {"stderr"} for what in self.differing().values())
        return bool(self.able) and not any(decisive)


def run(
    backend: str, words: Sequence[str], stdin: bytes, later: int, limit: float, say: Callable[[str], object]
) -> Outcome:
    """Run a program on a backend several times, by `pelagos run`.

    words: the arguments of `pelagos run`, without `--backend`.
    later: the number of runs after the first one. limit: seconds for each run.
    say: called with a progress message before each run.
    """
    say(f"running it on {backend} for the first time")
    runs = [_once(backend, words, stdin, limit)]
    said = _REASON.search(runs[0].stderr.decode("utf-8", "replace"))
    if runs[0].code in _NOT_RUN and said and not runs[0].stdout:
        return Outcome(backend, problem=said["why"] + said["name"])
    if runs[0].code is not None:
        for number in range(later):
            say(f"running it on {backend}, {number + 1} of {later}")
            runs.append(_once(backend, words, stdin, limit))
    return Outcome(backend, tuple(runs))


def _once(backend: str, words: Sequence[str], stdin: bytes, limit: float) -> Run:
    command = [sys.executable, "-m", "pelagos_core", "run", "--backend", backend, *words]
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin)
        given.seek(0)
        began = time.monotonic()
        process = subprocess.Popen(command, stdin=given, stdout=out, stderr=err)
        try:
            code = _wait(process, limit)
        finally:
            seconds = time.monotonic() - began
            _end(process)
        streams = []
        for stream in (out, err):
            stream.seek(0)
            streams.append(stream.read(MAX_BYTES))
        return Run(code, seconds, *streams)


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The exit code of a process; None if it has not exited within `seconds`."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()  # `pelagos run` forwards SIGTERM to the program
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def changed_lines(name: str, one: bytes, other_name: str, other: bytes, most: int) -> Iterator[str]:
    """Yield the lines in which two outputs differ, at most `most` of them."""
    before, after = (each.decode("utf-8", "replace").splitlines()[:_DIFF_LINES] for each in (one, other))
    found = list(difflib.unified_diff(before, after, name, other_name, lineterm="", n=1))
    yield from found[:most]
    if len(found) > most:
        yield f"… {len(found) - most} more lines"
