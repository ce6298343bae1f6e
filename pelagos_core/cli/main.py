"""The `pelagos` command: its subcommands, and how errors leave it."""

from __future__ import annotations

import importlib
import os
import sys

import click

from pelagos_core import __version__
from pelagos_core.errors import PelagosError

# Imported when asked for: `pelagos run` must not pay for the others.
_COMMANDS = {
    "run": "pelagos_core.cli.run",
    "install": "pelagos_core.cli.install",
    "uninstall": "pelagos_core.cli.install",
    "backends": "pelagos_core.cli.backends",
    "version": "pelagos_core.cli.version",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(_COMMANDS[cmd_name]), cmd_name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "--version", message="pelagos %(version)s")
def cli() -> None:
    """Run WebAssembly under containerd, with any engine.

    Try it without containerd: pelagos run hello.wasm
    """


def main() -> None:
    """Entry point of the `pelagos` script. An error is one line on stderr and exit code 1."""
    _open_standard_streams()
    try:
        cli(prog_name="pelagos")
    except PelagosError as error:
        click.echo(f"pelagos: {error}", err=True)
        sys.exit(1)
    except OSError as error:
        click.echo(f"pelagos: {error.strerror or error}: {error.filename or ''}".rstrip(": "), err=True)
        sys.exit(1)


def _open_standard_streams() -> None:
    """Put /dev/null where a standard stream was closed (`pelagos run x.wasm >&-`).

    Else the next file that is opened would get its number, and the guest's output.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # open(2) takes the lowest number that is free
