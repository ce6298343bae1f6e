"""Plans at random, in C with its sanitizers: read within their bounds, and taken for what they say.

A failure tells the round's seed: `operations SEED 1 0 < samples` plays that one alone.
"""

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fuzz.budget import SEEDED, seconds, seed
from tests.fuzz.sample_plans import sample_plans
from tests.support.c_program import NATIVE, sanitized

HERE = Path(__file__).parent / "native"
COMMON = [HERE / name for name in ("plans.c", "any.c", "rounds.c")]
DECODER = [HERE / "decoder.c", *COMMON, NATIVE / "process/plan.c"]
OPERATIONS = [
    HERE / "operations.c",
    HERE / "sandbox.c",
    *COMMON,
    *sorted(NATIVE.glob("process/*.c")),
    NATIVE / "common/sha256.c",
]
MESSAGES = [HERE / name for name in ("messages.c", "any.c", "rounds.c")] + [NATIVE / "process/message.c"]
WORKERS = 4  # more than processors: much of a round is waiting for mounts to be gone
_APART = 10**9  # their seeds

pytestmark = [pytest.mark.compiler, pytest.mark.timeout(0)]


@pytest.fixture(scope="module")
def samples():
    """Plans of specs, of which random ones are made."""
    return sample_plans()


def play(program, samples, rounds, share, workers=1):
    """Rounds with numbered seeds: the same each time, if there is time for all, or for a share of the longer run."""
    first = 1 if SEEDED else seed()
    limit = (str(rounds // workers) if SEEDED else "0", str(seconds(share)))

    def work(number):
        words = [program, str(first + number * _APART), *limit]
        return subprocess.run(words, input=samples, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    with ThreadPoolExecutor(workers) as pool:
        done = list(pool.map(work, range(workers)))
    said = b"".join(each.stdout for each in done).decode(errors="replace")
    assert not any(each.returncode for each in done), said
    print(said)


def test_a_plan_is_carried_out_up_to_where_it_is_none(tmp_path, samples):
    play(sanitized(tmp_path / "decoder", DECODER), samples, 100_000, 4)


def test_a_plan_is_received_whole_with_its_descriptors_or_leaves_none_open(tmp_path):
    play(sanitized(tmp_path / "messages", MESSAGES), b"", 20_000, 2)


@pytest.mark.root
def test_an_operation_does_no_more_than_its_work(tmp_path, samples):
    play(sanitized(tmp_path / "operations", OPERATIONS, "-Wl,--wrap=close"), samples, 2_000, 8, WORKERS)


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
