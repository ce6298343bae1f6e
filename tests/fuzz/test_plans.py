"""Plans at random: read within their bounds, and taken for what they say."""

import pytest

from tests.fuzz.harness import COMMON, HERE, longer_run, play, run_libfuzzer
from tests.fuzz.sample_plans import sample_plans
from tests.support.c_program import NATIVE, sanitized

DECODER = [HERE / "decoder.c", HERE / "plans.c", *COMMON, NATIVE / "process/plan.c"]
MESSAGES = [HERE / "messages.c", *COMMON, NATIVE / "process/message.c"]
OPERATIONS = [
    *(HERE / name for name in ("operations.c", "sandbox.c", "plans.c")),
    *COMMON,
    *sorted(NATIVE.glob("process/*.c")),
    NATIVE / "common/sha256.c",
]
WORKERS = 4  # more than processors: much of a round is waiting for mounts to be gone

pytestmark = [pytest.mark.compiler, pytest.mark.timeout(0)]


@pytest.fixture(scope="module")
def samples():
    """Plans of specs, of which random ones are made."""
    return sample_plans()


def test_a_plan_is_carried_out_up_to_where_it_is_none(tmp_path, samples):
    play(sanitized(tmp_path / "decoder", DECODER), 50_000, 3, samples)


def test_a_plan_is_received_whole_with_its_descriptors_or_leaves_none_open(tmp_path):
    play(sanitized(tmp_path / "messages", MESSAGES), 10_000, 1)


@pytest.mark.root
def test_an_operation_does_no_more_than_its_work(tmp_path, samples):
    program = sanitized(tmp_path / "operations", OPERATIONS, "-Wl,--wrap=close")
    play(program, 2_000, 8, samples, WORKERS)


@longer_run
def test_libfuzzer_finds_no_plan_that_leaves_its_bounds(tmp_path):
    run_libfuzzer(tmp_path, DECODER, 3)
