"""Prints a table: wrapped on a terminal, one line per row in a pipe."""

from __future__ import annotations

import os
import sys
import textwrap
import unicodedata

import click

_GAP = "  "
_LONGEST_WORD = 24  # columns; a longer word, such as a path, may be cut, to leave space for the other cells


def print_table(header: list[str], rows: list[list[str]], *, is_whole: bool = False) -> None:
    """Print a table to stdout. On a terminal, cells are wrapped between words to its width, unless `is_whole`."""
    for line in lines(header, rows, None if is_whole else _width()):
        click.echo(line)


def lines(header: list[str], rows: list[list[str]], width: int | None) -> list[str]:
    """The table's lines.

    width: in columns, to which cells are wrapped between words; None for one line per row. If the words
    are too wide for a table, each row is printed as a list of its cells.
    """
    table = [[_clean(cell) for cell in row] for row in (header, *rows)]
    columns = list(zip(*table, strict=True))
    widths = [max(map(_columns, column)) for column in columns]
    if width is not None:
        room = width - len(_GAP) * (len(widths) - 1)
        words = [[_columns(word) for cell in column for word in cell.split(" ")] for column in columns]
        least = [min(max(column), _LONGEST_WORD) for column in words]
        if sum(least) > room:
            return _listed(table, width)
        widths = _shrunk(widths, least, room)
    return [line for row in table for line in _row(row, widths)]


def _shrunk(widths: list[int], least: list[int], room: int) -> list[int]:
    """Reduce the widest columns, not below `least`, until all fit into `room`."""
    widths = list(widths)
    while sum(widths) > room:
        able = [index for index, each in enumerate(widths) if each > least[index]]
        widths[max(able, key=lambda index: widths[index])] -= 1
    return widths


def _listed(table: list[list[str]], width: int) -> list[str]:
    header, *rows = table
    label = max(map(_columns, header))
    widths = [label, max(1, width - label - len(_GAP))]
    found: list[str] = []
    for row in rows:
        found += [""] if found else []
        found += [line for pair in zip(header, row, strict=True) for line in _row(list(pair), widths)]
    return found


def _row(cells: list[str], widths: list[int]) -> list[str]:
    wrapped = [_wrapped(cell, width) for cell, width in zip(cells, widths, strict=True)]
    height = max(map(len, wrapped))
    padded = [each + [""] * (height - len(each)) for each in wrapped]
    return [
        _GAP.join(part + " " * (width - _columns(part)) for part, width in zip(parts, widths, strict=True)).rstrip()
        for parts in zip(*padded, strict=True)
    ]


def _wrapped(cell: str, width: int) -> list[str]:
    if _columns(cell) <= width:
        return [cell]
    return textwrap.wrap(cell, width, break_on_hyphens=False) or [""]


def _clean(cell: str) -> str:
    """The text as one line, without control characters."""
    return "".join(letter if letter.isprintable() else " " if letter.isspace() else "?" for letter in cell)


def _columns(text: str) -> int:
    """The width of a text on a terminal: two columns for wide characters, none for combining ones (UAX #11)."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def _width() -> int | None:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, AttributeError, ValueError):  # a pipe, or closed
        return None
