"""The `pelagos` command: its subcommands, and how errors leave it."""

from __future__ import annotations

import errno
import importlib
import sys

import click

from pelagos_core import __version__
from pelagos_core.cli import exit_codes, mistakes
from pelagos_core.errors import PelagosError

# By what they are about, in the order of the help. Imported when asked for: `pelagos run` must not pay for the others.
_SECTIONS = {
    "Containers": {
        "run": "pelagos_core.cli.run",
        "ps": "pelagos_core.cli.ps",
        "logs": "pelagos_core.cli.logs",
        "exec": "pelagos_core.cli.execute",
        "stats": "pelagos_core.cli.stats",
        "stop": "pelagos_core.cli.ending",
        "kill": "pelagos_core.cli.ending",
        "wait": "pelagos_core.cli.ending",
        "rm": "pelagos_core.cli.ending",
    },
    "Modules and engines": {
        "pack": "pelagos_core.cli.pack",
        "backends": "pelagos_core.cli.backends",
        "inspect": "pelagos_core.cli.inspect",
        "compare": "pelagos_core.cli.compare",
        "cache": "pelagos_core.cli.cache",
        "conformance": "pelagos_core.cli.conformance",
    },
    "This node": {
        "install": "pelagos_core.cli.install",
        "uninstall": "pelagos_core.cli.install",
        "doctor": "pelagos_core.cli.doctor",
        "metrics": "pelagos_core.cli.metrics",
        "zygote": "pelagos_core.cli.zygote",
        "completion": "pelagos_core.cli.completion",
        "version": "pelagos_core.cli.version",
    },
}
_COMMANDS = {name: module for section in _SECTIONS.values() for name, module in section.items()}
_LONGEST_SENTENCE = 200
# Of commands that are named as a word of Python's is.
_FUNCTIONS = {"exec": "execute"}


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise SystemExit(exit_codes.INTERRUPTED) from None
        except OSError as error:  # click would make 1 of a reader that has left, too
            raise SystemExit(_lost(error)) from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0][:1] != "-" and args[0] not in _COMMANDS:
            raise click.UsageError(f"No such command '{args[0]}'.{mistakes.near(args[0], _COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands in their sections, each with its whole first sentence: click would cut it off."""
        for title, names in _SECTIONS.items():
            rows = [(name, _first_sentence(self.get_command(ctx, name))) for name in names]
            with formatter.section(title):
                formatter.write_dl(rows, col_max=14)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(_COMMANDS[cmd_name])
        command: click.Command = getattr(module, _FUNCTIONS.get(cmd_name, cmd_name))
        return command


def _first_sentence(command: click.Command | None) -> str:
    return command.get_short_help_str(_LONGEST_SENTENCE) if command else ""


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "--version", message="pelagos %(version)s")
def cli() -> None:
    """Run WebAssembly under containerd, with any engine.

    Try it without containerd: pelagos run hello.wasm
    """


def execute() -> int:
    """Carry out the command line of this process; the exit code, of `exit_codes`. An error is one line on stderr."""
    code = _code()
    try:
        if sys.stdout:  # None where it was closed
            sys.stdout.flush()
    except OSError as error:
        code = code or _lost(error)
    return code


def _code() -> int:
    try:
        return int(cli(prog_name="pelagos", standalone_mode=False) or exit_codes.OK)
    except click.ClickException as error:
        click.echo(mistakes.describe(error), err=True)
        of_run = isinstance(error, click.UsageError) and error.ctx and error.ctx.command.name in ("run", "exec")
        return exit_codes.FAILED if of_run else error.exit_code
    except PelagosError as error:
        click.echo(f"pelagos: {error}", err=True)
        return exit_codes.FAULT
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else exit_codes.FAULT


def _lost(error: OSError) -> int:
    if error.errno == errno.EPIPE:
        return exit_codes.NO_READER
    click.echo(f"pelagos: {exit_codes.describe(error)}", err=True)
    return exit_codes.FAULT
