"""Manual pages of every command, made from the command line's own help: `python -m scripts.man` writes build/man.

The format is man(7), with the sections that man-pages(7) names.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from pelagos_core import __version__
from pelagos_core.cli.command import Command, Group, Text, contexts
from pelagos_core.cli.command_line import cli

TARGET = Path(__file__).parent.parent / "build/man"
_CODE = re.compile(r"`([^`]+)`")


def write(target: Path) -> list[Path]:
    """Write the pages into a directory; their paths."""
    target.mkdir(parents=True, exist_ok=True)
    found = []
    for context in contexts(click.Context(cli, info_name="pelagos", **cli.context_settings)):
        path = target / f"{_name(context)}.1"
        path.write_text("\n".join(_page(context)) + "\n")
        found.append(path)
    return sorted(found)


def _name(context: click.Context) -> str:
    return context.command_path.replace(" ", "-")


def _page(context: click.Context) -> Iterator[str]:
    """The lines of a page."""
    command = context.command
    assert isinstance(command, Command)
    name, text = _name(context), Text.of(command)
    purpose = text.purpose[0].lower() + text.purpose[1:].rstrip(".")
    yield f'.TH {name.upper()} 1 "" "pelagos {__version__}" "pelagos"'
    yield from (".nh", ".ad l")  # neither hyphens nor stretched lines: names are to be copied
    yield from (".SH NAME", f"{_escaped(name)} \\- {_inline(purpose)}")
    yield from (".SH SYNOPSIS", f".B {_escaped(context.command_path)}")
    yield _escaped(" ".join(command.collect_usage_pieces(context)))
    yield from (".SH DESCRIPTION", _inline(text.purpose))
    for paragraph in text.description:
        yield from (".PP", _inline(paragraph))
    sections = list(command.sections(context))
    yield ".SH OPTIONS"
    for title, records in sections:
        yield from (f'.SS "{_escaped(title)}"',) if len(sections) > 1 else ()
        for typed, meaning in records:
            yield from (".TP", f".B {_escaped(typed)}", _inline(meaning))
    if isinstance(command, Group):
        yield ".SH COMMANDS"
        yield from _children(command, context)
    if text.exit_codes:
        yield from (".SH EXIT STATUS", _inline(text.exit_codes))
    if text.examples:
        yield from (".SH EXAMPLES", ".nf", *map(_escaped, text.examples), ".fi")
    if context.parent:
        yield from (".SH SEE ALSO", f".BR {_escaped(_name(context.parent))} (1)")


def _children(group: Group, context: click.Context) -> Iterator[str]:
    chapters = list(group.chapters(context))
    for title, names in chapters:
        yield from (f'.SS "{_escaped(title)}"',) if len(chapters) > 1 else ()
        for name in names:
            child = group.get_command(context, name)
            assert child
            yield from (".TP", f".BR {_escaped(f'{_name(context)}-{name}')} (1)", _inline(Text.of(child).purpose))


def _escaped(text: str) -> str:
    """Text in which troff sees no request and no escape, and no hyphen that it could make a dash of."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...")
    return f"\\&{text}" if text[:1] in (".", "'") else text


def _inline(text: str) -> str:
    """The same, with what is between backticks in bold."""
    return _CODE.sub(r"\\fB\1\\fR", _escaped(" ".join(text.split())))


if __name__ == "__main__":
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    print(f"{len(write(directory))} pages in {directory}")
