"""Figures: a measured quantity of a contender, with its unit and one value for each round."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

# Units for which a larger value is better; for all others a smaller one is.
MORE_IS_BETTER = frozenset({"tasks/s", "requests/s"})


class Key(NamedTuple):
    """Identifies a figure; two runs are compared by it.

    case: the parameter that was varied, such as "4 at a time" or "gofmt, cold".
    """

    scenario: str
    case: str
    contender: str
    metric: str


@dataclass(frozen=True, slots=True)
class Measured:
    """One value of one round; the caller adds the scenario and the contender."""

    case: str
    metric: str
    unit: str
    value: float


@dataclass(frozen=True, slots=True)
class Figure:
    """The values of all rounds."""

    key: Key
    unit: str
    rounds: tuple[float, ...]

    @property
    def value(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds)

    @property
    def spread(self) -> float:
        """The spread of the rounds: half of the range, divided by the median."""
        return (max(self.rounds) - min(self.rounds)) / 2 / abs(self.value) if self.value else 0.0


def percentile(values: Sequence[float], percent: float) -> float:
    """The percentile of some values: the smallest value that at least `percent` of them do not exceed.

    Raises ValueError for an empty sequence.
    """
    if not values:
        raise ValueError("no values")
    rank = math.ceil(len(values) * percent / 100)
    return sorted(values)[max(rank, 1) - 1]


def latencies(case: str, name: str, seconds: Sequence[float]) -> Iterable[Measured]:
    """The median and the 99th percentile of some latencies, in ms."""
    yield Measured(case, f"{name} p50", "ms", statistics.median(seconds) * 1e3)
    yield Measured(case, f"{name} p99", "ms", percentile(seconds, 99) * 1e3)


class Figures:
    """Collects values into figures, in the order of their first values."""

    def __init__(self) -> None:
        self._rounds: dict[Key, list[float]] = {}
        self._units: dict[Key, str] = {}

    def add(self, scenario: str, contender: str, measured: Measured) -> None:
        """Add one round's value."""
        key = Key(scenario, measured.case, contender, measured.metric)
        self._rounds.setdefault(key, []).append(measured.value)
        self._units[key] = measured.unit

    def all(self) -> list[Figure]:
        """All figures so far."""
        return [Figure(key, self._units[key], tuple(values)) for key, values in self._rounds.items()]
