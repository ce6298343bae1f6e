"""Keys: whatever changes the code changes the name."""

from dataclasses import fields, replace

import pytest

from pelagos_core.cache import key
from pelagos_core.cache.key import Key

KEY = Key("module", "backend 1", "Engine 2", "fuel", "x86_64 abc")
X86 = "processor\t: 0\nmodel name\t: A\nflags\t\t: fpu {} sse2\n\nprocessor\t: 1\nflags\t\t: fpu\n"


@pytest.mark.parametrize("name", [field.name for field in fields(Key)])
def test_each_part_makes_another_name(name):
    assert replace(KEY, **{name: "other"}).name != KEY.name
    assert len(KEY.name) == 64


def test_parts_cannot_run_into_each_other():
    assert (
        replace(KEY, engine="Engine", settings="2 fuel").name != replace(KEY, engine="Engine 2", settings="fuel").name
    )


def test_the_processors_features_are_in_it_and_their_order_is_not():
    assert key.features(X86.format("avx")) != key.features(X86.format("avx512"))
    assert key.features("flags : a b") == key.features("flags : b a")
    assert key.features("Features : fp asimd") == key.features("flags : fp asimd")
    assert key.features("") == key.features("nothing of it")
    assert key.cpu().split()[1] != key.features("")  # this machine's are found
