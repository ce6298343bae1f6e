"""The node's metrics in Prometheus' format, by its own library. Only the command imports it: it loads 30 modules."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from pelagos_core import __version__
from pelagos_core.metrics import families, slots
from pelagos_core.metrics.families import Family
from pelagos_core.metrics.slots import SlotFile


class Node:
    """A collector of prometheus_client: reads the file of a directory at each scrape."""

    def __init__(self, place: str) -> None:
        """Arguments: place: the directory of the file; empty if nothing is counted."""
        self._place = place

    def collect(self) -> Iterator[Metric]:
        """Yield all metric families. They are zero until a daemon has counted.

        Raises OSError, PermissionDenied or FailedPrecondition.
        """
        sums, live, engines = array("Q", bytes(families.CELLS * 8)), 0, dict(slots.FIXED_NAMES)
        gauges = {number for cells in families.gauge_cells() for number in cells}
        try:
            with SlotFile(self._place) as file:
                engines = file.engines()
                for cells, is_live in file.readings():
                    live += is_live
                    for number, value in enumerate(cells):
                        if value and (is_live or number not in gauges):
                            sums[number] += value
        except FileNotFoundError:
            pass
        yield InfoMetricFamily(families.INFO.name, families.INFO.help, {"version": __version__})
        yield GaugeMetricFamily(families.DAEMONS.name, families.DAEMONS.help, live)
        for family in families.COUNTED:
            yield _metric(family, sums, engines)


_RARE = (families.NO_ENGINE, families.OTHER_ENGINE)
_KINDS: dict[str, type[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]] = {
    families.GAUGE: GaugeMetricFamily,
    families.COUNTER: CounterMetricFamily,
    families.HISTOGRAM: HistogramMetricFamily,
}


def _metric(family: Family, sums: array[int], engines: dict[int, str]) -> Metric:
    """A family with its values: for each engine that was counted, and for no engine if it has values."""
    made = _KINDS[family.kind](family.name, family.help, labels=family.label_names)
    for number, name in engines.items() if family.per_engine else [(families.NO_ENGINE, "")]:
        first = families.cell(family, number, family.combinations[0])
        if family.per_engine and number in _RARE and not any(sums[first : first + family.size]):
            continue
        for labels in family.combinations:
            at = families.cell(family, number, labels)
            values = [name or "none", *labels] if family.per_engine else list(labels)
            if isinstance(made, HistogramMetricFamily):
                made.add_metric(values, _buckets(family, sums, at), sums[at] / families.NANOSECONDS)
            else:
                made.add_metric(values, sums[at])
    return made


def _buckets(family: Family, sums: array[int], first: int) -> list[tuple[str, float]]:
    """The upper bounds of the buckets, each with the number of values that are not above it."""
    found, count = [], 0
    for index, bound in enumerate((*family.buckets, float("inf"))):
        count += sums[first + 1 + index]
        found.append(("+Inf" if bound == float("inf") else str(bound), float(count)))
    return found
