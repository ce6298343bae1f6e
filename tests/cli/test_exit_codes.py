"""Exit codes: one table, the one in the documents, and what each error comes to."""

import re
from pathlib import Path

import pytest

from pelagos_core import reasons
from pelagos_core.cli import exit_codes
from pelagos_core.errors import InvalidArgument, NotFound

ROOT = Path(__file__).parents[2]


def test_the_table_in_the_documents_is_the_codes():
    text = (ROOT / "docs/errors.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    assert {int(code): (run, other) for code, run, other in rows} == exit_codes.MEANINGS


def test_each_code_has_a_meaning():
    codes = {value for name, value in vars(exit_codes).items() if name.isupper() and isinstance(value, int)}
    assert codes - {exit_codes.SIGNALLED} == set(exit_codes.MEANINGS)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("x", reasons.ENTRYPOINT), 127),
        (NotFound("x", reasons.ENGINE_MISSING), 127),
        (InvalidArgument("x", reasons.ENTRYPOINT), 126),
        (InvalidArgument("x", reasons.MODULE), 126),
        (InvalidArgument("x", reasons.ENGINE_UNFIT), 126),
        (InvalidArgument("x", reasons.SPEC), 125),
        (NotFound("x", reasons.MOUNT), 125),
        (NotFound("x"), 125),
    ],
)
def test_an_error_that_keeps_a_program_from_running_has_dockers_code(error, code):
    assert exit_codes.of_error(error) == code
