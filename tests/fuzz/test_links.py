"""Images of links at random, in C with its sanitizers: a path leads where the kernel says, or where it would."""

import pytest

from tests.fuzz.harness import COMMON, HERE, play
from tests.support.c_program import NATIVE, sanitized

SOURCES = [HERE / "links.c", *COMMON, NATIVE / "process/resolve.c"]

pytestmark = [pytest.mark.compiler, pytest.mark.timeout(0)]


def test_a_path_leads_where_it_leads_the_kernel_and_nothing_is_made_elsewhere(tmp_path, monkeypatch):
    program = sanitized(tmp_path / "links", SOURCES)
    monkeypatch.chdir(tmp_path)
    play(program, 400, 3)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["links"]
