"""Damaged lists of mounts, in C with its sanitizers: read within their bounds, or refused."""

import pytest

from tests.fuzz.harness import COMMON, HERE, longer_run, play, run_libfuzzer
from tests.support.c_program import NATIVE, sanitized

SOURCES = [
    HERE / "mount_list.c",
    *COMMON,
    *(NATIVE / "process" / name for name in ("mountinfo.c", "resolve.c", "mount_calls.c")),
]

pytestmark = [pytest.mark.compiler, pytest.mark.timeout(0)]


def test_a_damaged_list_of_mounts_is_read_or_refused(tmp_path):
    play(sanitized(tmp_path / "mount_list", SOURCES), 50_000, 3)


@longer_run
def test_libfuzzer_finds_no_list_that_leaves_its_bounds(tmp_path):
    run_libfuzzer(tmp_path, SOURCES, 3)
