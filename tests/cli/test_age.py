"""Spans of time as people write them."""

import pytest

from pelagos_core.cli import age
from pelagos_core.errors import InvalidArgument


@pytest.mark.parametrize(("text", "seconds"), [("5s", 5), ("2m", 120), ("12h", 43200), ("30d", 2592000)])
def test_a_span_is_read_and_told(text, seconds):
    assert age.parse(text) == seconds
    assert age.describe(seconds) == text


@pytest.mark.parametrize("text", ["", "5", "d", "1.5h", "-1d", "\u0665s", "9999999999s"])
def test_anything_else_is_refused(text):
    with pytest.raises(InvalidArgument, match="is not an age"):
        age.parse(text)


def test_a_clock_that_was_put_back_is_no_age():
    assert age.describe(-5) == "0s"
