"""Device rules, put together as the kernel of cgroup v1 would."""

from dataclasses import replace

import pytest

from pelagos_core.cgroups.device_rules import DEFAULT_RULES, DevicePolicy
from pelagos_core.oci.resources import DeviceRule

FLOPPY = DeviceRule(True, "b", 2, 0, "r")
NOTHING, ALL = DeviceRule(False), DeviceRule(True)
FUSE = DeviceRule(True, "c", 10, 229, "rwm")


def of(*rules):
    """The exceptions beside the default ones."""
    policy = DevicePolicy.of(rules)
    return policy.allow, tuple(rule for rule in policy.exceptions if rule not in DEFAULT_RULES)


def test_without_rules_the_default_devices_are_all_there_are():
    assert DevicePolicy.of(()) == DevicePolicy.of((NOTHING,)) == DevicePolicy(False, DEFAULT_RULES)


@pytest.mark.parametrize(
    ("rules", "policy"),
    [
        ((NOTHING, FUSE), (False, (FUSE,))),
        ((FUSE, NOTHING), (False, ())),
        ((NOTHING, FUSE, DeviceRule(False, "c", 10, 229, "w")), (False, (DeviceRule(True, "c", 10, 229, "rm"),))),
        ((NOTHING, FUSE, DeviceRule(False, "c", 10, 229, "rwm")), (False, ())),
        ((FLOPPY, replace(FLOPPY, access="w")), (False, (replace(FLOPPY, access="rw"),))),
        ((NOTHING, ALL), (True, ())),
        ((ALL, DeviceRule(False, "b", 8, None, "w")), (True, (DeviceRule(False, "b", 8, None, "w"),))),
        ((replace(FLOPPY, type="a"),), (False, (FLOPPY, replace(FLOPPY, type="c")))),
        ((DeviceRule(True, "a", None, None, ""),), (False, ())),
    ],
)  # fmt: skip
def test_rules_add_up(rules, policy):
    assert of(*rules) == policy


def test_a_policy_that_allows_all_is_open():
    assert DevicePolicy.of((ALL,)).is_open
    assert not DevicePolicy.of(()).is_open
    assert not DevicePolicy.of((ALL, DeviceRule(False, "b", 8, 0, "r"))).is_open
