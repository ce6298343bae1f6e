"""A run's figures with the description of its machine, as JSON; and the comparison of two runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.samples import MORE_IS_BETTER, Figure, Key

FORMAT = 1
# Two runs of the same code differ by some percent on a quiet machine.
_NOISE = 0.05


@dataclass(frozen=True, slots=True)
class Report:
    """One run. `made` is `machine.describe()`, the settings, and the load before and after."""

    made: dict[str, object]
    figures: list[Figure]

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        figures = [
            {**f.key._asdict(), "unit": f.unit, "value": _short(f.value), "rounds": [_short(v) for v in f.rounds]}
            for f in self.figures
        ]
        path.write_text(json.dumps({"format": FORMAT, "made": self.made, "figures": figures}, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Report:
        """Read a report. Raises ValueError for a file of another format."""
        content = json.loads(path.read_text())
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"{path} is not a report of format {FORMAT}")
        figures = [
            Figure(Key(*(row[name] for name in Key._fields)), row["unit"], tuple(row["rounds"]))
            for row in content["figures"]
        ]
        return cls(content["made"], figures)

    def value(self, scenario: str, case: str, contender: str, metric: str) -> float | None:
        """One figure's value; None if it was not measured."""
        key = Key(scenario, case, contender, metric)
        return next((figure.value for figure in self.figures if figure.key == key), None)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The same figure of two runs."""

    before: Figure
    after: Figure

    @property
    def ratio(self) -> float:
        """The second value divided by the first; infinite if the first is 0."""
        return self.after.value / self.before.value if self.before.value else float("inf")

    @property
    def verdict(self) -> str:
        """`better` or `worse`; `same` if the difference is within the spread of either run's rounds."""
        noise = max(_NOISE, self.before.spread, self.after.spread)
        if not self.before.unit or abs(self.ratio - 1) <= noise:
            return "same"
        more = self.ratio > 1
        return "better" if more == (self.before.unit in MORE_IS_BETTER) else "worse"


def compare(before: Report, after: Report) -> Iterator[Comparison]:
    """The figures that both runs have, in the order of the first."""
    later = {figure.key: figure for figure in after.figures}
    for figure in before.figures:
        if figure.key in later:
            yield Comparison(figure, later[figure.key])


def _short(value: float) -> float:
    """Round to four significant digits, which is more precise than the measurement."""
    return float(f"{value:.4g}")
