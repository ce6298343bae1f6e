"""Sizes as text, in docker's units: `64m`, `2g`."""

from __future__ import annotations

from pelagos_core.errors import InvalidArgument

_UNITS = "bkmgt"
_NAMES = ("B", "KiB", "MiB", "GiB", "TiB")


def parse(text: str) -> int:
    """Parse a number with a unit b, k, m, g or t, each 1024 times the one before. Returns bytes.

    Raises InvalidArgument.
    """
    number, unit = (text[:-1], text[-1].lower()) if text[-1:].isalpha() else (text, "b")
    if unit not in _UNITS or not (number.isascii() and number.isdecimal()) or len(number) > len(str(2**63)):
        raise InvalidArgument(f"{text!r} is not a size such as 64m (units: {', '.join(_UNITS)})")
    return int(number) << 10 * _UNITS.index(unit)


def describe(count: int) -> str:
    """Format a number of bytes: `812 B`, `10.5 MiB`."""
    power = max(0, min((count.bit_length() - 1) // 10, len(_NAMES) - 1))
    return f"{count / 1024**power:.{1 if power else 0}f} {_NAMES[power]}"
