"""How long the random tests may take: half a minute in all, or as long as FUZZ_SECONDS says."""

from __future__ import annotations

import os
import time

SECONDS = float(os.environ.get("FUZZ_SECONDS", "30"))
# The half minute is the same one each time; a longer run looks elsewhere, and prints its seed.
SEEDED = "FUZZ_SECONDS" not in os.environ


def seconds(share: float) -> float:
    """A test's share of the time; share: its seconds of the minute."""
    return SECONDS * share / 60


def seed() -> int:
    """The seed of a test's own generator, printed so that a failure can be looked at again."""
    chosen = int(os.environ.get("FUZZ_SEED") or (1 if SEEDED else time.time_ns() % 10**9))
    print(f"FUZZ_SEED={chosen}")
    return chosen
