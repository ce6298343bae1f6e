"""Reads and writes WebAssembly Value Encoding: component values as text, the notation of `wasmtime run --invoke`.

A value is a bool, int, float or str; a list or tuple; a dict for a record; a set of names for flags; or a wit.Case
for a variant, an enum, an option or a result.

Source: bytecodealliance/wasm-tools, crates/wasm-wave, README.md.
"""

from __future__ import annotations

import math
import re
import sys
import unicodedata
from collections.abc import Callable
from typing import Any

from wasmtime import component

from pelagos_core.plugin.values import float_word, read_float
from wasmtime_backend import wit

_KEYWORDS = frozenset({"true", "false", "inf", "nan", "some", "none", "ok", "err"})
_SPACE = re.compile(r"(?:\s|//[^\n]*(?:\n|\Z))*")
_LABEL = re.compile(r"%?[A-Za-z][A-Za-z0-9-]*")
_INTEGER = re.compile(r"-?[0-9]{1,40}(?![0-9.eE])")
_FLOAT = re.compile(r"-?(?:[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|inf)|nan")
_ESCAPE = re.compile(r"\\(?:([\\'\"tnr])|u\{([0-9a-fA-F]{1,6})\})")
_ESCAPED = {"t": "\t", "n": "\n", "r": "\r"}
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\\": "\\\\", "'": "\\'", '"': '\\"'}
_SURROGATES = range(0xD800, 0xE000)
_SHOWN = 20
_NONE = wit.Case("none")


def read_word(kind: component.ValType, word: str) -> object:
    """Read the value of a word on a command line.

    A string and a char need no quotes, because a shell has removed them: a string if it does not begin with `"`, a
    char if it is one character. Raises ValueError; its text names the fault and has no subject.
    """
    is_plain = isinstance(kind, component.String) and not word.startswith('"')
    if is_plain or (isinstance(kind, component.Char) and len(word) == 1):
        return word
    return read(kind, word)


def read(kind: component.ValType, text: str) -> object:
    """Read the value of a text. Raises ValueError; its text names the fault and has no subject."""
    reader = _Reader(text)
    value = reader.value(kind)
    reader.skip()
    if reader.at < len(text):
        raise ValueError(f"has {text[reader.at : reader.at + _SHOWN]!r} after its end")
    return value


def write(kind: component.ValType, value: object) -> str:
    """The text of a value of this type."""
    if type(kind) in wit.INTEGERS:
        return str(value)
    return _WRITERS[type(kind)](kind, value)


def _list(kind: component.ListType, value: list[object]) -> str:
    element = kind.element
    return f"[{', '.join(write(element, each) for each in value)}]"


def _float(value: float, *, is_single: bool) -> str:
    return "nan" if math.isnan(value) else float_word(value, is_single=is_single)


def _record(kind: component.RecordType, value: dict[str, object]) -> str:
    """Write a record without the fields whose value is `none`."""
    fields = [
        f"{name}: {write(each, value[name])}"
        for name, each in kind.fields
        if not isinstance(each, component.OptionType) or value[name] != _NONE
    ]
    return f"{{{', '.join(fields) or ':'}}}"


def _case(kind: component.ValType, value: wit.Case) -> str:
    is_own = isinstance(kind, component.OptionType | component.ResultType)
    name = f"%{value.name}" if value.name in _KEYWORDS and not is_own else value.name
    payload = wit.cases(kind)[value.name]
    return name if payload is None else f"{name}({write(payload, value.payload)})"


def _escaped(text: str) -> str:
    if text.isascii() and text.isprintable() and not _SHORT.keys() & set(text):
        return text
    return "".join(
        _SHORT.get(letter) or (letter if _is_plain(letter) else f"\\u{{{ord(letter):x}}}") for letter in text
    )


def _is_plain(letter: str) -> bool:
    return letter.isprintable() and unicodedata.category(letter) not in ("Mn", "Me")


_WRITERS: dict[type, Callable[[Any, Any], str]] = {
    component.Bool: lambda _, value: str(value).lower(),
    component.F32: lambda _, value: _float(value, is_single=True),
    component.F64: lambda _, value: _float(value, is_single=False),
    component.Char: lambda _, value: f"'{_escaped(value)}'",
    component.String: lambda _, value: f'"{_escaped(value)}"',
    component.ListType: _list,
    component.TupleType: lambda kind, value: f"({', '.join(map(write, kind.elements, value))})",
    component.RecordType: _record,
    component.FlagsType: lambda kind, value: f"{{{', '.join(name for name in kind.names if name in value)}}}",
    component.VariantType: _case,
    component.EnumType: _case,
    component.OptionType: _case,
    component.ResultType: _case,
}


class _Reader:
    """A text and the current position in it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.at = 0

    def fault(self, wanted: str) -> ValueError:
        """The error for an unexpected text at the current position."""
        found = self._text[self.at : self.at + _SHOWN]
        if not self.at:
            return ValueError(f"is no {wanted}" if not wanted.startswith(("a ", "one of ")) else f"is not {wanted}")
        return ValueError(f"has {found!r} where {wanted} is expected" if found else f"ends where {wanted} is expected")

    def skip(self) -> None:
        """Skip blanks and comments."""
        match = _SPACE.match(self._text, self.at)
        self.at = match.end() if match else self.at

    def value(self, kind: component.ValType) -> object:
        """Read a value of this type."""
        self.skip()
        if type(kind) in wit.INTEGERS:
            return self._integer(*wit.INTEGERS[type(kind)])
        return _READERS[type(kind)](self, kind)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self.at)
        if match is None:
            return ""
        self.at = match.end()
        return match[0]

    def _has(self, mark: str) -> bool:
        """Whether the text continues with `mark`, which is then skipped."""
        self.skip()
        if not self._text.startswith(mark, self.at):
            return False
        self.at += len(mark)
        return True

    def _expect(self, mark: str) -> None:
        if not self._has(mark):
            raise self.fault(f"a {mark!r}")

    def _items(self, end: str, item: Callable[[], None]) -> None:
        """Read items up to an end mark, separated by commas; a comma may follow the last one."""
        while not self._has(end):
            item()
            if not self._has(","):
                self._expect(end)
                return

    def _integer(self, name: str, least: int, beyond: int) -> int:
        word = self._take(_INTEGER)
        if not word:
            raise self.fault(name)
        if not least <= int(word) < beyond:
            raise ValueError(f"is out of the range of {name}: {least} to {beyond - 1}")
        return int(word)

    def number(self, *, is_single: bool) -> float:
        word = self._take(_FLOAT)
        if not word:
            raise self.fault("f32" if is_single else "f64")
        return read_float(word, is_single=is_single)

    def boolean(self) -> bool:
        begin = self.at
        word = self._take(_LABEL)
        if word not in ("true", "false"):
            self.at = begin
            raise self.fault("bool: true or false")
        return word == "true"

    def quoted(self, quote: str, what: str) -> str:
        if not self._has(quote):
            raise self.fault(what)
        if self._text.startswith('""', self.at) and quote == '"':
            raise ValueError("is a string of several lines, which is not taken: write \\n")
        letters = list[str]()
        while not self._text.startswith(quote, self.at):
            letters.append(self._letter(quote))
        self.at += len(quote)
        return "".join(letters)

    def _letter(self, quote: str) -> str:
        letter = self._text[self.at : self.at + 1]
        if letter in ("", "\n"):
            raise self.fault(f"the end of the text, a {quote}")
        if letter != "\\":
            self.at += 1
            return letter
        match = _ESCAPE.match(self._text, self.at)
        number = int(match[2], 16) if match and match[2] else 0
        if match is None or number > sys.maxunicode or number in _SURROGATES:
            raise self.fault("one of \\\\ \\' \\\" \\t \\n \\r \\u{hexadecimal}")
        self.at = match.end()
        return _ESCAPED.get(match[1], match[1]) if match[1] else chr(number)

    def char(self) -> str:
        text = self.quoted("'", "char in single quotes")
        if len(text) != 1:
            raise ValueError(f"is no char: it has {len(text)} of them")
        return text

    def items(self, element: component.ValType) -> list[object]:
        self._expect("[")
        found = list[object]()
        self._items("]", lambda: found.append(self.value(element)))
        return found

    def row(self, elements: list[component.ValType]) -> tuple[object, ...]:
        self._expect("(")
        found = list[object]()

        def item() -> None:
            if len(found) == len(elements):
                raise self.fault("a ')'")
            found.append(self.value(elements[len(found)]))

        self._items(")", item)
        if len(found) != len(elements):
            raise ValueError(f"has a tuple of {len(found)} values in place of {len(elements)}")
        return tuple(found)

    def _label(self, what: str) -> str:
        self.skip()
        word = self._take(_LABEL)
        if not word:
            raise self.fault(what)
        return word.removeprefix("%")

    def record(self, fields: dict[str, component.ValType]) -> dict[str, object]:
        self._expect("{")
        found = dict[str, object]()

        def item() -> None:
            name = self._label("the name of a field")
            if name not in fields:
                raise ValueError(f"has no field {name!r}: the record has {', '.join(fields)}")
            if name in found:
                raise ValueError(f"has the field {name!r} twice")
            self._expect(":")
            found[name] = self.value(fields[name])

        if self._has(":"):
            self._expect("}")
        else:
            self._items("}", item)
        none = {name: _NONE for name, kind in fields.items() if isinstance(kind, component.OptionType)}
        missing = fields.keys() - found.keys() - none.keys()
        if missing:
            raise ValueError(f"lacks the field {min(missing)!r}")
        return {**none, **found}

    def flags(self, names: list[str]) -> set[str]:
        self._expect("{")
        found = set[str]()

        def item() -> None:
            name = self._label("the name of a flag")
            if name not in names:
                raise ValueError(f"has no flag {name!r}: there are {', '.join(names)}")
            found.add(name)

        self._items("}", item)
        return found

    def case(self, kind: component.ValType) -> wit.Case:
        found = wit.cases(kind)
        begin = self.at
        word = self._take(_LABEL)
        flat = _flat(kind)
        if flat and word not in found:
            self.at = begin
            name, payload = flat
            return wit.Case(name, self.value(payload))
        name = word.removeprefix("%")
        if name not in found:
            self.at = begin
            raise self.fault(f"one of {', '.join(found)}")
        expected = found[name]
        if expected is None:
            return wit.Case(name)
        self._expect("(")
        value = self.value(expected)
        self._expect(")")
        return wit.Case(name, value)


def _flat(kind: component.ValType) -> tuple[str, component.ValType] | None:
    """The case of an option or a result that may be written as its value alone (`1` for `some(1)`), and its type."""
    if isinstance(kind, component.OptionType):
        name, payload = "some", kind.payload
    elif isinstance(kind, component.ResultType) and kind.ok is not None:
        name, payload = "ok", kind.ok
    else:
        return None
    return None if isinstance(payload, component.OptionType | component.ResultType) else (name, payload)


_READERS: dict[type, Callable[[_Reader, Any], object]] = {
    component.Bool: lambda reader, _: reader.boolean(),
    component.F32: lambda reader, _: reader.number(is_single=True),
    component.F64: lambda reader, _: reader.number(is_single=False),
    component.Char: lambda reader, _: reader.char(),
    component.String: lambda reader, _: reader.quoted('"', "string in quotes"),
    component.ListType: lambda reader, kind: reader.items(kind.element),
    component.TupleType: lambda reader, kind: reader.row(kind.elements),
    component.RecordType: lambda reader, kind: reader.record(dict(kind.fields)),
    component.FlagsType: lambda reader, kind: reader.flags(kind.names),
    component.VariantType: _Reader.case,
    component.EnumType: _Reader.case,
    component.OptionType: _Reader.case,
    component.ResultType: _Reader.case,
}
