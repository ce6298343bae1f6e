"""Durations as text: `30s`, `1h30m`, `30d`."""

from __future__ import annotations

import re

from pelagos_core.errors import InvalidArgument

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
_TEXT = re.compile("(?=.)" + "".join(rf"(?:(\d{{1,9}}){unit})?" for unit in _UNITS), re.ASCII)


def parse(text: str) -> float:
    """Parse numbers with the units d, h, m, s and ms, in this order. Returns seconds. Raises InvalidArgument."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise InvalidArgument(f"{text!r} is not a duration such as 30s, 1h30m or 30d")
    return float(sum(int(part or 0) * unit for part, unit in zip(match.groups(), _UNITS.values(), strict=True)))


def describe(seconds: float) -> str:
    """Format a duration, rounded, in the largest unit that it contains: 90 seconds are `2m`."""
    seconds = max(0.0, seconds)
    unit = next((name for name, length in _UNITS.items() if seconds >= length >= 1), "s")
    return f"{seconds / _UNITS[unit]:.0f}{unit}"
