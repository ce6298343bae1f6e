"""Prints errors in one format: `pelagos: COMMAND: what failed: why; what to do`, one line on stderr."""

from __future__ import annotations

import click

_PROGRAM = "pelagos"
_command = [""]  # of this process: of a group's commands such as `cache warm`


def speak_for(path: str) -> None:
    """Set the command's name for all following messages. path: as typed, with the program's name."""
    _command[0] = path.removeprefix(_PROGRAM).strip()


def speaker() -> str:
    """The command in whose name all is said."""
    return _command[0]


def line(text: str, command: str | None = None) -> str:
    """The line for an error, without a newline. command: the command's name, by default the current one."""
    return ": ".join(filter(None, (_PROGRAM, _command[0] if command is None else command, clean(text))))


def complain(text: object) -> None:
    """Print an error: a text or an exception."""
    click.echo(line(str(text)), err=True)


def note(text: str) -> None:
    """Print a message that is not an error to stderr."""
    click.echo(f"{_PROGRAM}: {clean(text)}", err=True)


def clean(text: str) -> str:
    """The text without control characters: the names of users and guests in it are untrusted."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)
