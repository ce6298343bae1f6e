"""Random tests in C, with its sanitizers: tests/fuzz/native/.

A failure prints the seed of the round: `PROGRAM SEED 1 0` plays that one alone.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fuzz.budget import SEEDED, seconds, seed
from tests.support.c_program import sanitized

HERE = Path(__file__).parent / "native"
COMMON = [HERE / "any.c", HERE / "rounds.c"]
_APART = 10**9  # the seeds of workers

longer_run = pytest.mark.skipif(SEEDED, reason="a longer run's: `make fuzz`")


def play(program: Path, rounds: int, share: float, given: bytes = b"", workers: int = 1) -> None:
    """Rounds with numbered seeds: the same each time, if there is time for all, or for a share of the longer run.

    given: its standard input. workers: how many play at once.
    """
    first = 1 if SEEDED else seed()
    limit = (str(rounds // workers) if SEEDED else "0", str(seconds(share)))

    def work(number: int) -> subprocess.CompletedProcess[bytes]:
        words = [program, str(first + number * _APART), *limit]
        return subprocess.run(words, input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    with ThreadPoolExecutor(workers) as pool:
        done = list(pool.map(work, range(workers)))
    said = b"".join(each.stdout for each in done).decode(errors="replace")
    assert not any(each.returncode for each in done), said
    print(said)


def run_libfuzzer(directory: Path, sources: Sequence[Path], share: float) -> None:
    """The same sources as a target of libFuzzer, which looks for inputs that reach more of them."""
    if not shutil.which("clang"):
        pytest.skip("needs clang: on Debian, apt-get install clang libclang-rt-14-dev")
    program = sanitized(directory / "fuzzer", sources, "-fsanitize=fuzzer", "-DLIBFUZZER", compiler="clang")
    (directory / "corpus").mkdir()
    words = [program, f"-max_total_time={seconds(share):.0f}", "-max_len=65536", directory / "corpus"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=directory)
    assert done.returncode == 0, done.stderr
    print(done.stderr.splitlines()[-1])
