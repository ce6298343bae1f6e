"""An instruction of a plan for the compiled library: an operation's name, with numbers, texts and slots.

The format is described in native/process/plan.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from pelagos_core import __version__
from pelagos_core.errors import FailedPrecondition, InvalidArgument
from pelagos_core.native import library

MAX_SLOTS = 1024
MAX_ARGUMENTS = 8192  # of one instruction
_HEAD = struct.Struct("=HH")
_LENGTH = struct.Struct("=I")
_NUMBER = struct.Struct("=IqB")  # length, value, NUL
_NUMBER_BYTES = 8


class Slot(str):
    """The name of a slot, as an argument."""

    __slots__ = ()


Argument = int | str | bytes | Slot


class Instruction(NamedTuple):
    """One call of an operation of native/process/operations.h."""

    operation: str
    arguments: tuple[Argument, ...] = ()

    def __str__(self) -> str:
        """The instruction as text for the log; for bytes only their length."""
        words = [f"{len(each)} bytes" if isinstance(each, bytes) else _shown(each) for each in self.arguments]
        return f"{self.operation}({', '.join(words)})"


def instruction(operation: str, *arguments: Argument) -> Instruction:
    """Build an instruction."""
    return Instruction(operation, arguments)


class SlotNumbers:
    """The numbers of the slots of one process: the library's own slots, and one for each further name."""

    def __init__(self) -> None:
        self._numbers = {name: number for number, name in enumerate(library.slots())}

    def of(self, name: str) -> int:
        """The number of a slot. Raises InvalidArgument for more slots than a process has."""
        number = self._numbers.setdefault(name, len(self._numbers))
        if number >= MAX_SLOTS:
            raise InvalidArgument(f"the spec needs more than {MAX_SLOTS} descriptors: too many mounts")
        return number


def encode(instructions: Iterable[Instruction], numbers: SlotNumbers) -> bytes:
    """Encode a plan for the library.

    Raises InvalidArgument for a text that holds a NUL byte, and FailedPrecondition for an operation that the library
    does not have.
    """
    table = library.operations()
    parts: list[bytes] = []
    for name, arguments in instructions:
        if name not in table:
            # pip keeps both packages in one version; `--no-deps` and a copied file do not.
            raise FailedPrecondition(
                f"the installed pelagos-native has no operation {name!r}, so it is of another version than "
                f"pelagos-core {__version__}: install pelagos-native=={__version__}"
            )
        parts.append(_HEAD.pack(table[name][0], len(arguments)))
        for argument in arguments:
            parts.append(_encoded(argument, numbers))
    return b"".join(parts)


def _encoded(argument: Argument, numbers: SlotNumbers) -> bytes:
    if isinstance(argument, int):
        return _NUMBER.pack(_NUMBER_BYTES, argument, 0)
    if isinstance(argument, Slot):
        return _NUMBER.pack(_NUMBER_BYTES, numbers.of(argument), 0)
    if isinstance(argument, str):
        if "\0" in argument:
            raise InvalidArgument(f"{argument!r}: holds a NUL byte")
        argument = argument.encode("utf-8", "surrogateescape")  # as in JSON, in any locale
    return b"%b%b\0" % (_LENGTH.pack(len(argument)), argument)


def _shown(argument: int | str) -> str:
    if isinstance(argument, Slot):
        return argument
    return repr(argument) if isinstance(argument, str) else f"{argument:#x}" if argument > 9 else str(argument)
