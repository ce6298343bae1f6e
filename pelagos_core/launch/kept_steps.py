"""A cache of the encoded steps of bare processes: the processes of one pod have most steps in common.

In the daemon. A step is a value, so equal steps have equal instructions, except for the numbers of their slots.
"""

from __future__ import annotations

from dataclasses import dataclass

from pelagos_core.isolation.operation import Operation
from pelagos_core.native.instruction import MAX_ARGUMENTS, Slot, SlotNumbers, encode

_MOST = 1024  # steps, with some hundred bytes each; a system call filter has 3 KiB


class TooManyArgumentsError(Exception):
    """An instruction has more arguments than the library reads."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """The instructions of a step in bytes, with the numbers of its slots."""

    data: bytes
    slots: tuple[tuple[str, int], ...]


_kept: dict[Operation, _Kept] = {}


def encoded(step: Operation, numbers: SlotNumbers) -> bytes:
    """The instructions of a step in bytes.

    numbers: of the slots of its process. Raises TooManyArgumentsError, or PelagosError for a step
    that cannot be encoded.
    """
    kept = _kept.get(step) if step.is_common else None
    if kept is not None and all(numbers.of(name) == number for name, number in kept.slots):
        return kept.data
    instructions = step.instructions()
    if any(len(each.arguments) > MAX_ARGUMENTS for each in instructions):
        raise TooManyArgumentsError
    data = encode(instructions, numbers)
    if step.is_common:
        names = {name: None for each in instructions for name in each.arguments if isinstance(name, Slot)}
        if len(_kept) >= _MOST:
            _kept.clear()
        _kept[step] = _Kept(data, tuple((name, numbers.of(name)) for name in names))
    return data
