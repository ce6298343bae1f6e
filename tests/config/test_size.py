"""Sizes, as docker writes them and as a person reads them."""

import pytest

from pelagos_core.config import size
from pelagos_core.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("12", 12), ("3b", 3), ("1k", 1024), ("64M", 64 << 20), ("2g", 2 << 30), ("1t", 1 << 40)],
)
def test_a_size_has_a_number_and_perhaps_a_unit(text, count):
    assert size.parse(text) == count


@pytest.mark.parametrize("text", ["", "m", "1x", "-1", "1.5g", "1gb", "٣", "9" * 40])
def test_anything_else_is_no_size(text):
    with pytest.raises(InvalidArgument, match=r"is not a size such as 64m \(units: b, k, m, g, t\)"):
        size.parse(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (10963368, "10.5 MiB"),
        (4 << 30, "4.0 GiB"),
        (1 << 60, "1048576.0 TiB"),
    ],
)
def test_a_size_is_reported_in_the_unit_that_fits(count, text):
    assert size.describe(count) == text
