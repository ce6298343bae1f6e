"""Limits that an engine is given."""

import pytest

from pelagos_core.errors import InvalidArgument
from pelagos_core.limits import FUEL, Limits
from pelagos_core.spec import Process, Resources, Spec
from pelagos_core.spec.resources import Memory

PROCESS = Process(args=("/x",))


def test_memory_stays_below_the_cgroups_limit():
    assert Limits.of(Spec(PROCESS, resources=Resources(memory=Memory(limit=64 << 20)))) == Limits(memory=56 << 20)
    assert Limits.of(Spec(PROCESS)) == Limits()


def test_fuel_must_be_held_by_the_engine():
    limits = Limits.of(Spec(PROCESS, annotations={FUEL: "1000"}))
    assert (limits.fuel, limits.required) == (1000, {"fuel"})
    assert not Limits(memory=1).required


@pytest.mark.parametrize("text", ["0", "-1", "1e3", "many", "9" * 19, " 1"])
def test_fuel_is_a_whole_number(text):
    with pytest.raises(InvalidArgument, match=FUEL):
        Limits.of(Spec(PROCESS, annotations={FUEL: text}))
