"""What commands say of faults, in one voice: `pelagos: COMMAND: what failed: why; what to do`, a line on stderr."""

from __future__ import annotations

import click

_PROGRAM = "pelagos"
_command = [""]  # of this process: of a group's commands such as `cache warm`


def speak_for(path: str) -> None:
    """Say all from now on in the name of a command. path: as it is typed, with the program's name."""
    _command[0] = path.removeprefix(_PROGRAM).strip()


def speaker() -> str:
    """The command in whose name all is said."""
    return _command[0]


def line(text: str, command: str | None = None) -> str:
    """What is printed of a fault, without the end of the line. command: whose it is, if not of the present one."""
    return ": ".join(filter(None, (_PROGRAM, _command[0] if command is None else command, clean(text))))


def complain(text: object) -> None:
    """Print what failed: a text, or an error."""
    click.echo(line(str(text)), err=True)


def note(text: str) -> None:
    """Print on stderr what is no fault."""
    click.echo(f"{_PROGRAM}: {clean(text)}", err=True)


def clean(text: str) -> str:
    """Nothing in it that a terminal would act on. A name of the user's, or a guest's, may have anything in it."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)
