"""The metric families, and the position (cell) of each value in a daemon's slot.

A cell is an unsigned number of 64 bits. The cells of one engine are adjacent, so that a pod with one engine
writes to one or two pages. Names and units follow Prometheus' conventions (prometheus.io/docs/practices/naming).
"""

from __future__ import annotations

import hashlib
import itertools
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from pelagos_core import reasons

GAUGE = "gauge"
COUNTER = "counter"
HISTOGRAM = "histogram"

ENGINES = 12
"""The number of blocks of cells: the first is for no engine, the last for all engines without their own block."""
NO_ENGINE, OTHER_ENGINE = 0, ENGINES - 1
NANOSECONDS = 10**9

_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SLOW = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

STATES = ("creating", "created", "running", "pausing", "paused", "stopped")
KINDS = ("container", "exec")
CAUSES = ("success", "error", "trap", "signal", "deadline")
NO_REASON = "none"


@dataclass(frozen=True, eq=False)  # compared by identity: comparing all fields would dominate the cost of a count
class Family:
    """One metric family.

    name: without the suffix of its kind, as in the exposition library.
    help: one line.
    labels: each label except `engine`, with its values.
    per_engine: whether it has the label `engine`.
    buckets: the upper bounds of a histogram, in seconds.
    """

    name: str
    kind: str
    help: str
    labels: tuple[tuple[str, tuple[str, ...]], ...] = ()
    per_engine: bool = True
    buckets: tuple[float, ...] = ()

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of all labels, in the order in which their values are given."""
        return (*(["engine"] if self.per_engine else []), *(name for name, _ in self.labels))

    @cached_property
    def combinations(self) -> list[tuple[str, ...]]:
        """All combinations of the values of labels, except `engine`, in the order of their cells."""
        return list(itertools.product(*(values for _, values in self.labels)))

    @cached_property
    def width(self) -> int:
        """The cells of one combination. A histogram has its sum in nanoseconds, its buckets, and an unbounded one."""
        return len(self.buckets) + 2 if self.kind == HISTOGRAM else 1

    @property
    def size(self) -> int:
        """The number of cells for one engine."""
        return self.width * len(self.combinations)

    def bucket(self, seconds: float) -> int:
        """The index of a duration's bucket, counted from the first cell of the histogram."""
        return 1 + bisect_left(self.buckets, seconds)


DAEMONS_STARTED = Family(
    "pelagos_daemons_started", COUNTER, "Daemons that were started on this node, one for each pod.", per_engine=False
)
CREATE_FAILURES = Family(
    "pelagos_create_failures",
    COUNTER,
    "Containers that could not be created, by the reason in the error (docs/errors.md).",
    (("reason", (*sorted(reasons.ALL), NO_REASON)),),
    per_engine=False,
)
OOM_KILLS = Family(
    "pelagos_oom_kills",
    COUNTER,
    "Kills by the kernel in a container, for lack of memory.",
    per_engine=False,
)
CONTAINERS = Family(
    "pelagos_containers", GAUGE, "Containers, by engine (`none` before one is chosen) and state.", (("state", STATES),)
)
CREATE_SECONDS = Family(
    "pelagos_create_duration_seconds",
    HISTOGRAM,
    "Time from the request for a container to its process that waits for Start.",
    buckets=_QUICK,
)
START_SECONDS = Family(
    "pelagos_start_duration_seconds",
    HISTOGRAM,
    "Time that Start of a container takes, with its poststart hooks.",
    buckets=_QUICK,
)
EXEC_SECONDS = Family(
    "pelagos_exec_duration_seconds",
    HISTOGRAM,
    "Time that Start of a further process (exec) takes, up to the process that runs.",
    buckets=_QUICK,
)
COMPILE_SECONDS = Family(
    "pelagos_compile_duration_seconds",
    HISTOGRAM,
    "Time that a container has waited for the compilation of its module, with the wait for a free slot.",
    buckets=_SLOW,
)
COMPILE_FAILURES = Family("pelagos_compile_failures", COUNTER, "Modules that were not compiled, with an error.")
CACHE_HITS = Family("pelagos_cache_hits", COUNTER, "Containers and execs whose compiled code was in the cache.")
CACHE_MISSES = Family("pelagos_cache_misses", COUNTER, "Containers and execs whose module had to be compiled.")
EXITS = Family(
    "pelagos_exits",
    COUNTER,
    "Ends of containers and execs. A trap is code 134 of a guest, a signal 128 and more, an error any other except 0.",
    (("kind", KINDS), ("cause", CAUSES)),
)
MEMORY_REFUSALS = Family(
    "pelagos_memory_refusals", COUNTER, "Guests that were refused memory at least once, by the limit in their engine."
)

COUNTED = (
    DAEMONS_STARTED,
    CREATE_FAILURES,
    OOM_KILLS,
    CONTAINERS,
    CREATE_SECONDS,
    START_SECONDS,
    EXEC_SECONDS,
    COMPILE_SECONDS,
    COMPILE_FAILURES,
    CACHE_HITS,
    CACHE_MISSES,
    EXITS,
    MEMORY_REFUSALS,
)
"""All families that daemons count, in the order in which they are shown."""

INFO = Family("pelagos", "info", "The version of pelagos that has read these figures.", per_engine=False)
DAEMONS = Family("pelagos_daemons", GAUGE, "Daemons that count now, one for each pod.", per_engine=False)
CACHE_BYTES = Family("pelagos_cache_bytes", GAUGE, "Disk space of the compiled code that is kept.")
CACHE_ENTRIES = Family("pelagos_cache_entries", GAUGE, "Modules whose compiled code is kept.")
FOUND = (INFO, DAEMONS, CACHE_BYTES, CACHE_ENTRIES)
"""Families whose values are computed when they are read."""


def _places() -> tuple[dict[Family, int], int, int]:
    """The first cell of each family (if per engine, in the engine's block), of the blocks, and a block's size."""
    places, common, block = {}, 0, 0
    for family in COUNTED:
        if family.per_engine:
            places[family], block = block, block + family.size
        else:
            places[family], common = common, common + family.size
    return places, common, block


_PLACES, _COMMON, _BLOCK = _places()
CELLS = _COMMON + ENGINES * _BLOCK
LAYOUT = hashlib.sha256(repr((COUNTED, ENGINES)).encode()).hexdigest()[:12]
"""The name of this layout of cells. Daemons with another layout use another file."""

_INDEXES = {
    family: {values: index * family.width for index, values in enumerate(family.combinations)} for family in COUNTED
}


def cell(family: Family, engine: int, labels: tuple[str, ...] = ()) -> int:
    """The first cell of a value in a slot.

    engine: the engine's number; ignored if the family is not per engine.
    labels: the values of the other labels. Raises KeyError for an unknown value.
    """
    place = _PLACES[family] + _INDEXES[family][labels]
    return _COMMON + engine * _BLOCK + place if family.per_engine else place


def gauge_cells() -> Iterator[range]:
    """The cells of gauges. Their values are valid only while the daemon that has written them runs."""
    for family in COUNTED:
        if family.kind == GAUGE:
            for engine in range(ENGINES) if family.per_engine else (NO_ENGINE,):
                first = cell(family, engine, family.combinations[0])
                yield range(first, first + family.size)
