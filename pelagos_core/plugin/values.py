"""Converts the arguments and results of a core module's function from and to text, as engines' command lines do.

A result is printed as Rust displays a number: an integer with its sign; a float without an exponent, with the
fewest digits that give the same float when they are read. An argument may have the same form. In addition, an integer
may be unsigned, or hexadecimal after `0x`, and a float may have an exponent.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from pelagos_core import reasons
from pelagos_core.errors import InvalidArgument
from pelagos_core.plugin.interface import Export

Number = int | float

_BITS = {"i32": 32, "i64": 64}
_FLOATS = {"f32": "<f", "f64": "<d"}
NUMBERS = frozenset({*_BITS, *_FLOATS})
"""The types that can be converted: vectors and references have no text form."""

_INTEGER = re.compile(r"([+-]?)(?:([0-9]+)|0[xX]([0-9a-fA-F]+))\Z", re.ASCII)
_FLOAT = re.compile(
    r"[+-]?(?:[0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?|inf|infinity|nan)\Z", re.I
)
_MAX_DIGITS = 100
_SHOWN = 60
_LONGEST_TYPE = 500
_F32_DIGITS = 9  # enough to distinguish any two floats of 32 bits
_STDOUT, _STDERR = 1, 2


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a core module's function.

    name: the name of its export.
    types: the types of the arguments.
    arguments: a signed int for each i32 and i64, a float for each f32 and f64.
    results: the types of the results; () if they are not printed.
    """

    name: str
    types: tuple[str, ...] = ()
    arguments: tuple[Number, ...] = ()
    results: tuple[str, ...] = ()

    def show(self, values: Sequence[Number]) -> int:
        """Print the results to stdout, one per line; return the exit code. Runs in the process that runs the guest."""
        lines = (f"{word(kind, value)}\n" for kind, value in zip(self.results, values, strict=True))
        return show("".join(lines))


def show(text: str) -> int:
    """Print the text of a function's results to stdout. Returns 0; if writing fails, prints an error and returns 1."""
    data = memoryview(text.encode("utf-8", "replace"))
    try:
        while data:
            data = data[os.write(_STDOUT, data) :]
    except OSError as error:
        with contextlib.suppress(OSError):
            os.write(_STDERR, f"pelagos: the result cannot be written: {error.strerror}\n".encode())
        return 1
    return 0


def described(function: Export) -> str:
    """A function with its type, such as `add(i32, i32) -> i32`."""
    results = function.results or ()
    returned = results[0] if len(results) == 1 else f"({', '.join(results)})"
    taken = ", ".join(function.parameters or ())
    return cut(f"{shown(function.name)}({taken})" + (f" -> {returned}" if results else ""))


def cut(text: str) -> str:
    """Cut the type of a function for a message: it may be as long as the file."""
    return text if len(text) <= _LONGEST_TYPE else f"{text[:_LONGEST_TYPE]}…"


def convert(function: Export, words: Sequence[str]) -> Call:
    """Convert words to the arguments of a function, by the types of its parameters.

    Raises InvalidArgument that names the function and the word; its text is a sentence without a subject.
    """
    types = function.parameters or ()
    if len(types) != len(words):
        raise wrong(wrong_count(described(function), len(types), len(words)))
    arguments = tuple(_number(function, index, words[index], kind) for index, kind in enumerate(types))
    return Call(function.name, types, arguments, function.results or ())


def wrong_count(function: str, taken: int, given: int) -> str:
    """The message for a call with too many or too few words."""
    count = "1 argument" if taken == 1 else f"{taken} arguments" if taken else "no arguments"
    return f"has the function {function}, which takes {count}, and is given {given or 'none'}"


def wrong_argument(function: str, index: int, given: str, why: str) -> str:
    """The message for a word that does not have the parameter's type. index: the argument's, from 0."""
    return f"has the function {function}: argument {index + 1}, {shown(repr(given))}, {why}"


def wrong(what: str) -> InvalidArgument:
    """The error for a call that does not fit its function."""
    return InvalidArgument(what, reasons.ARGUMENTS)


def shown(text: str) -> str:
    """A text from a file or a user, made safe for a line on a terminal: cut, and escaped if necessary."""
    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return text if text.isprintable() else repr(text)


def word(kind: str, value: Number) -> str:
    """The text of a value. kind: i32, i64, f32 or f64."""
    if kind in _BITS:
        return str(_signed(int(value), _BITS[kind]))
    return float_word(float(value), is_single=kind == "f32") if not math.isnan(value) else "NaN"


def float_word(value: float, *, is_single: bool) -> str:
    """The text of a float, without an exponent; not for NaN. is_single: whether it has 32 bits."""
    if math.isinf(value):
        return "-inf" if value < 0 else "inf"
    digits = _shortest_single(value) if is_single else repr(value)
    text = format(Decimal(digits), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _shortest_single(value: float) -> str:
    for count in range(1, _F32_DIGITS):
        text = f"{value:.{count}g}"
        with contextlib.suppress(OverflowError):  # rounded up beyond the largest
            if struct.unpack("<f", struct.pack("<f", float(text)))[0] == value:
                return text
    return f"{value:.{_F32_DIGITS}g}"


def _number(function: Export, index: int, given: str, kind: str) -> Number:
    try:
        return _integer(given, _BITS[kind]) if kind in _BITS else read_float(given, is_single=kind == "f32")
    except ValueError as error:
        raise wrong(wrong_argument(described(function), index, given, f"{error} {kind}")) from None


def _integer(given: str, bits: int) -> int:
    """The signed value of a word. Raises ValueError; its text is the begin of the message, before the type's name."""
    match = _INTEGER.match(given)
    if match is None:
        raise ValueError("is no")
    sign, decimal, hexadecimal = match.groups()
    digits = (decimal or hexadecimal).lstrip("0") or "0"
    if len(digits) > _MAX_DIGITS:
        raise ValueError("is too large for an")
    value = int(f"{sign}{digits}", 10 if decimal else 16)
    if not -(1 << bits - 1) <= value < 1 << bits:
        raise ValueError("is too large for an")
    return _signed(value, bits)


def _signed(value: int, bits: int) -> int:
    return (value + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)


def read_float(given: str, *, is_single: bool) -> float:
    """The float that a word denotes. is_single: whether it has 32 bits. Raises ValueError like `_integer`."""
    if not _FLOAT.match(given):
        raise ValueError("is no")
    value = float(given)
    if not is_single:
        return value
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)
