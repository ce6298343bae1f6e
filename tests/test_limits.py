"""Limits that an engine is given."""

from pelagos_core.limits import Limits
from pelagos_core.policy import EVERYTHING, Policy
from pelagos_core.spec import Process, Resources, Spec
from pelagos_core.spec.resources import Memory

PROCESS = Process(args=("/x",))


def test_memory_stays_below_the_cgroups_limit():
    assert Limits.of(Spec(PROCESS, resources=Resources(memory=Memory(limit=64 << 20))), EVERYTHING) == Limits(
        memory=56 << 20
    )
    assert Limits.of(Spec(PROCESS), EVERYTHING) == Limits()


def test_fuel_must_be_held_by_the_engine():
    limits = Limits.of(Spec(PROCESS), Policy(fuel=1000))
    assert (limits.fuel, limits.required) == (1000, {"fuel"})
    assert not Limits(memory=1).required
