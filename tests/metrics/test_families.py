"""The cells of values: apart, in one slot, and by Prometheus' conventions."""

import re

import pytest

from pelagos_core import reasons
from pelagos_core.metrics import families


def every_cell():
    for family in families.COUNTED:
        for engine in range(families.ENGINES) if family.per_engine else (0,):
            for labels in family.combinations:
                first = families.cell(family, engine, labels)
                yield from range(first, first + family.width)


def test_no_cell_has_two_meanings_and_none_is_unused():
    assert sorted(every_cell()) == list(range(families.CELLS))


@pytest.mark.parametrize("family", [*families.COUNTED, *families.FOUND], ids=lambda family: family.name)
def test_a_name_has_its_prefix_and_a_base_unit(family):
    assert re.fullmatch(r"pelagos(_[a-z]+)*", family.name)
    assert not family.name.endswith(("_total", "_count", "_sum", "_bucket"))
    assert family.name.endswith("_seconds") == (family.kind == families.HISTOGRAM)
    assert family.help.endswith(".")


@pytest.mark.parametrize(("seconds", "bucket"), [(0, 0), (0.001, 0), (0.0011, 1), (10, 12), (10.1, 13), (1e9, 13)])
def test_a_duration_is_in_the_first_bucket_that_is_not_below_it(seconds, bucket):
    assert families.CREATE_SECONDS.bucket(seconds) == 1 + bucket


def test_every_reason_has_a_counter():
    assert {reason for (reason,) in families.CREATE_FAILURES.combinations} == reasons.ALL | {families.NO_REASON}


def test_an_unknown_value_of_a_label_is_no_cell():
    with pytest.raises(KeyError):
        families.cell(families.CONTAINERS, 1, ("asleep",))
