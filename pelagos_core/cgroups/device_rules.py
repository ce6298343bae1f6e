"""The devices that a control group may use: the spec's rules, merged.

Source: the kernel's cgroup-v1/devices.rst, whose rules the spec uses: a rule for all devices
sets the default and drops all earlier rules; any other rule adds or removes an exception.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pelagos_core.oci.resources import DeviceRule

ACCESS = "rwm"  # read, write, mknod(2)

# The devices that runc allows in every container: mknod(2) of any device (not opening it), null, zero,
# full, random, urandom, tty, ptmx and the pseudo-terminals.
DEFAULT_RULES = (
    DeviceRule(True, "c", None, None, "m"),
    DeviceRule(True, "b", None, None, "m"),
    *(DeviceRule(True, "c", 1, minor, ACCESS) for minor in (3, 5, 7, 8, 9)),
    DeviceRule(True, "c", 5, 0, ACCESS),
    DeviceRule(True, "c", 5, 2, ACCESS),
    DeviceRule(True, "c", 136, None, ACCESS),
)


@dataclass(frozen=True, slots=True)
class DevicePolicy:
    """The default, and the exceptions, each with `allow` as the opposite of the default."""

    allow: bool
    exceptions: tuple[DeviceRule, ...] = ()

    @classmethod
    def of(cls, rules: Iterable[DeviceRule]) -> DevicePolicy:
        """The policy of a spec's rules, in their order, followed by runc's default rules."""
        allow = False
        exceptions: dict[tuple[str, int | None, int | None], str] = {}
        for rule in (*rules, *DEFAULT_RULES):
            if _is_for_all(rule):
                allow = rule.allow
                exceptions.clear()
                continue
            for kind in "bc" if rule.type == "a" else rule.type:
                key = (kind, rule.major, rule.minor)
                had = exceptions.get(key, "")
                exceptions[key] = _subtract(had, rule.access) if rule.allow is allow else _add(had, rule.access)
        found = (DeviceRule(not allow, *key, access) for key, access in exceptions.items() if access)
        return cls(allow, tuple(found))

    @property
    def is_open(self) -> bool:
        """Whether all devices are allowed."""
        return self.allow and not self.exceptions


def _is_for_all(rule: DeviceRule) -> bool:
    return rule.type == "a" and rule.major is None and rule.minor is None and set(rule.access) == set(ACCESS)


def _add(access: str, more: str) -> str:
    return "".join(letter for letter in ACCESS if letter in access + more)


def _subtract(access: str, less: str) -> str:
    return "".join(letter for letter in access if letter not in less)
