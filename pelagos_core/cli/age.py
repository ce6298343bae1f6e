"""Spans of time as people write them: `12h`, `30d`."""

from __future__ import annotations

import re

from pelagos_core.errors import InvalidArgument

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse(text: str) -> float:
    """Seconds of a number with s, m, h or d. Raises InvalidArgument for anything else."""
    match = re.fullmatch(r"(\d{1,9})([smhd])", text, re.ASCII)
    if match is None:
        raise InvalidArgument(f"{text!r} is not an age such as 12h or 30d")
    return float(match[1]) * _UNITS[match[2]]


def describe(seconds: float) -> str:
    """A span for a person, in the largest unit of which it has one: `90s` is `2m`."""
    seconds = max(0.0, seconds)
    unit = next((name for name, length in reversed(_UNITS.items()) if seconds >= length), "s")
    return f"{seconds / _UNITS[unit]:.0f}{unit}"
