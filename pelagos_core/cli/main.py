"""The `pelagos` command: its subcommands, and how errors leave it."""

from __future__ import annotations

import importlib
import sys

import click

from pelagos_core import __version__, standard_streams
from pelagos_core.errors import PelagosError

# Imported when asked for: `pelagos run` must not pay for the others.
_COMMANDS = {
    "run": "pelagos_core.cli.run",
    "install": "pelagos_core.cli.install",
    "uninstall": "pelagos_core.cli.install",
    "doctor": "pelagos_core.cli.doctor",
    "backends": "pelagos_core.cli.backends",
    "cache": "pelagos_core.cli.cache",
    "conformance": "pelagos_core.cli.conformance",
    "zygote": "pelagos_core.cli.zygote",
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
    standard_streams.open_closed()
    try:
        cli(prog_name="pelagos")
    except PelagosError as error:
        click.echo(f"pelagos: {error}", err=True)
        sys.exit(1)
    except OSError as error:
        click.echo(f"pelagos: {error.strerror or error}: {error.filename or ''}".rstrip(": "), err=True)
        sys.exit(1)
