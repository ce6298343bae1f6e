"""Plans at random, in C with its sanitizers: read within their bounds, and taken for what they say."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fuzz.budget import SEEDED, seconds, seed
from tests.support.c_program import NATIVE, sanitized

HERE = Path(__file__).parent / "native"
COMMON = [HERE / name for name in ("plans.c", "any.c", "rounds.c")]
DECODER = [HERE / "decoder.c", *COMMON, NATIVE / "process/plan.c"]

pytestmark = [pytest.mark.compiler, pytest.mark.timeout(0)]


def play(program, rounds, share):
    """Rounds with numbered seeds: as many each time, or for a share of the longer run."""
    first = 1 if SEEDED else seed()
    limit = (rounds, 0) if SEEDED else (0, seconds(share))
    done = subprocess.run([program, str(first), *map(str, limit)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)


def test_a_plan_is_carried_out_up_to_where_it_is_none(tmp_path):
    play(sanitized(tmp_path / "decoder", DECODER), 100_000, 4)


@pytest.mark.skipif(SEEDED, reason="a longer run's: `make fuzz`")
def test_libfuzzer_finds_no_plan_that_leaves_its_bounds(tmp_path):
    if not shutil.which("clang"):
        pytest.skip("needs clang: on Debian, apt-get install clang libclang-rt-14-dev")
    program = sanitized(tmp_path / "decoder", DECODER, "-fsanitize=fuzzer", "-DLIBFUZZER", compiler="clang")
    (tmp_path / "corpus").mkdir()
    words = [program, f"-max_total_time={seconds(4):.0f}", "-max_len=65536", tmp_path / "corpus"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    print(done.stderr.splitlines()[-1])
