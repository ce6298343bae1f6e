"""Damaged lists of mounts, in C with its sanitizers: read within their bounds, or refused."""

import shutil
import subprocess

import pytest

from tests.fuzz.budget import SEEDED, seconds
from tests.fuzz.test_plans import HERE, play
from tests.support.c_program import NATIVE, sanitized

SOURCES = [
    *(HERE / name for name in ("mount_list.c", "any.c", "rounds.c")),
    *(NATIVE / "process" / name for name in ("mountinfo.c", "resolve.c", "mount_calls.c")),
]

pytestmark = [pytest.mark.compiler, pytest.mark.timeout(0)]


def test_a_damaged_list_of_mounts_is_read_or_refused(tmp_path):
    play(sanitized(tmp_path / "mount_list", SOURCES), 100_000, 4)


@pytest.mark.skipif(SEEDED, reason="a longer run's: `make fuzz`")
def test_libfuzzer_finds_no_list_that_leaves_its_bounds(tmp_path):
    if not shutil.which("clang"):
        pytest.skip("needs clang: on Debian, apt-get install clang libclang-rt-14-dev")
    program = sanitized(tmp_path / "mount_list", SOURCES, "-fsanitize=fuzzer", "-DLIBFUZZER", compiler="clang")
    (tmp_path / "corpus").mkdir()
    words = [program, f"-max_total_time={seconds(4):.0f}", "-max_len=65536", tmp_path / "corpus"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    print(done.stderr.splitlines()[-1])
