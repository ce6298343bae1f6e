"""Manual pages of every command, made from the command line's own help: `python -m scripts.man` writes build/man."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import click

from pelagos_core import __version__
from pelagos_core.cli.command_line import cli

TARGET = Path(__file__).parent.parent / "build/man"


def write(target: Path) -> list[Path]:
    """Write the pages into a directory; their paths."""
    context = click.Context(cli, info_name="pelagos")
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command
        cli.commands[name] = command  # which click-man reads; ours are imported when they are asked for
        command.help = _with_lines(command.help or "")
    from click_man.core import write_man_pages  # here: of some versions the import warns

    target.mkdir(parents=True, exist_ok=True)
    write_man_pages("pelagos", cli, version=__version__, target_dir=str(target))
    return sorted(target.glob("*.1"))


def _with_lines(text: str) -> str:
    """A help text in which each line of a paragraph that keeps its lines (click's `\\b`) is a paragraph."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(p.removeprefix("\b\n").replace("\n", "\n\n") if p.startswith("\b\n") else p for p in paragraphs)


if __name__ == "__main__":
    print(f"{len(write(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET))} pages in {TARGET}")
