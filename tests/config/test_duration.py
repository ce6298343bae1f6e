"""Spans of time as people write them."""

import pytest

from pelagos_core.config import duration
from pelagos_core.errors import InvalidArgument


@pytest.mark.parametrize(("text", "seconds"), [("5s", 5), ("2m", 120), ("12h", 43200), ("30d", 2592000)])
def test_a_span_is_read_and_reported(text, seconds):
    assert duration.parse(text) == seconds
    assert duration.describe(seconds) == text


@pytest.mark.parametrize(("text", "seconds"), [("1h30m", 5400), ("500ms", 0.5), ("1d1h1m1s1ms", 90061.001), ("0s", 0)])
def test_units_are_added(text, seconds):
    assert duration.parse(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "d", "1.5h", "-1d", "5m1h", "\u0665s", "9999999999s"])
def test_anything_else_is_refused(text):
    with pytest.raises(InvalidArgument, match="is not a duration"):
        duration.parse(text)


def test_a_clock_that_was_put_back_is_no_time():
    assert duration.describe(-5) == "0s"
