"""User namespaces: the maps of their ids.

Source: user_namespaces(7).
"""

from __future__ import annotations

from collections.abc import Iterable

from pelagos_core.oci import IdMap


def map_text(ranges: Iterable[IdMap]) -> str:
    """A map as the kernel reads it."""
    return "".join(f"{each.inside} {each.outside} {each.size}\n" for each in ranges)
