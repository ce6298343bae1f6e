"""Limits that an engine is given."""

import os

import pytest

from pelagos_core.config.policy import EVERYTHING, Policy
from pelagos_core.oci import Process, Resources, Spec
from pelagos_core.oci.resources import Memory
from pelagos_core.plugin.limits import Limits, LiveMemory, refusal

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


@pytest.fixture
def control_file(tmp_path):
    path = tmp_path / "memory.max"
    path.write_text(f"{64 << 20}\n")
    file = os.open(path, os.O_RDONLY)
    yield path, file
    os.close(file)


def test_a_guests_memory_is_limited_by_what_the_control_file_says_now(control_file):
    path, file = control_file
    memory = LiveMemory(file, lambda asked, limit: None)
    assert (memory.allows(56 << 20), memory.allows((56 << 20) + 1)) == (True, False)
    path.write_text(f"{128 << 20}\n")
    assert memory.allows(112 << 20)
    path.write_text("max\n")
    assert memory.allows(1 << 50)
    path.write_text(f"{2**63 - 4096}\n")  # no limit, on cgroup v1
    assert memory.allows(1 << 50)


def test_only_the_first_refusal_is_reported(control_file):
    told = []
    memory = LiveMemory(control_file[1], lambda *numbers: told.append(numbers))
    assert not memory.allows(96 << 20)
    assert not memory.allows(97 << 20)
    assert told == [(96 << 20, 64 << 20)]


def test_a_refusal_names_the_containers_limit():
    assert refusal(96 << 20, 64 << 20) == (
        "the guest asked for 96 MiB of memory; the container's limit is 64 MiB "
        "(56 MiB of it for the guest, the rest for its engine)"
    )
