"""The entry point of the `pelagos` command."""

from __future__ import annotations

import gc
import os

from pelagos_core.shim import standard_streams

_ALLOCATIONS = 100_000  # between two garbage collections; Python's default of 700 adds 4 ms to the imports


def main() -> None:
    """Run the `pelagos` script; does not return."""
    gc.set_threshold(_ALLOCATIONS)  # before the imports, which create no garbage
    standard_streams.open_closed()
    from pelagos_core.cli import command_line

    # Exit without finalisation: it takes 7 ms, and would report a closed output again.
    os._exit(command_line.execute())
