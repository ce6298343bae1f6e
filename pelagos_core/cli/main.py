"""Where the `pelagos` command begins and ends."""

from __future__ import annotations

import gc
import os

from pelagos_core.shim import standard_streams

_ALLOCATIONS = 100_000  # between two collections; Python's own are 700, which comes to 4 ms of imports


def main() -> None:
    """Entry point of the `pelagos` script; does not return."""
    gc.set_threshold(_ALLOCATIONS)  # before the imports, in which there is nothing to be found
    standard_streams.open_closed()
    from pelagos_core.cli import command_line

    # No finalisation: it takes 7 ms, and would complain once more of output that nothing reads.
    os._exit(command_line.execute())
