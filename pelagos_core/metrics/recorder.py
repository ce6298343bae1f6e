"""Counts the metrics of one daemon, in memory and, by one pwrite(2) of a few bytes, in its slot of the node's file."""

from __future__ import annotations

import logging
import time

from pelagos_core.errors import PelagosError
from pelagos_core.metrics import families, slots
from pelagos_core.metrics.families import Family
from pelagos_core.metrics.slots import Slot

log = logging.getLogger(__name__)


class Recorder:
    """Counts for one daemon. Without a slot it counts nothing; a call then costs one comparison."""

    def __init__(self, slot: Slot | None = None) -> None:
        self._slot = slot

    @classmethod
    def of_node(cls, *, wanted: bool = True) -> Recorder:
        """The recorder for a new daemon. Call it in the daemon: a child does not inherit the lock on the slot.

        wanted: whether the node's config enables metrics. If the file cannot be used, this is logged, and the daemon
        counts nothing.
        """
        place = slots.directory()
        if not wanted or not place:
            return cls()
        try:
            recorder = cls(Slot.take(place))
        except (OSError, PelagosError) as error:
            log.info("metrics are not counted: %s", error)
            return cls()
        recorder.count(families.DAEMONS_STARTED)
        return recorder

    @property
    def is_on(self) -> bool:
        """Whether anything is counted."""
        return self._slot is not None

    def count(self, family: Family, engine: str = "", *labels: str, by: int = 1) -> None:
        """Add to a counter or a gauge. labels: the values of all labels except `engine`. by: may be -1 for a gauge."""
        if self._slot is None:
            return
        try:
            number = self._slot.engine(engine) if family.per_engine else 0
            cell = families.cell(family, number, labels)
            self._slot.add(cell, by)
            self._slot.write(cell, cell + 1)
        except OSError as error:
            self._turn_off(error)

    def observe(self, family: Family, engine: str, began: int) -> None:
        """Add a duration to a histogram. began: the value of `now()` at its start."""
        if self._slot is None:
            return
        took = time.monotonic_ns() - began
        try:
            first = families.cell(family, self._slot.engine(engine))
            self._slot.add(first, took)
            self._slot.add(first + family.bucket(took / families.NANOSECONDS), 1)
            self._slot.write(first, first + family.width)
        except OSError as error:
            self._turn_off(error)

    def close(self) -> None:
        """Release the slot. Call it when the daemon exits."""
        if self._slot is not None:
            slot, self._slot = self._slot, None
            try:
                slot.close()
            except OSError as error:
                log.info("metrics: %s", error)

    def _turn_off(self, error: OSError) -> None:
        log.warning("metrics are not counted any more: %s", error)
        self.close()


NOT_COUNTED = Recorder()
"""A recorder that counts nothing."""

now = time.monotonic_ns
"""The clock of `observe`, in nanoseconds."""
