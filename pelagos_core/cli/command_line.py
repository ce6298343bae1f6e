"""The `pelagos` command: its subcommands, and how errors leave it."""

from __future__ import annotations

import errno
import importlib
import sys
from collections.abc import Iterator

import click

from pelagos_core import __version__
from pelagos_core.cli import exit_codes, mistakes, voice
from pelagos_core.cli.command import Group
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
# Of docker, of podman, and of the command lines of engines.
_IMAGES = "images are containerd's: `ctr images ls`; `pelagos pack` makes one"
_ELSEWHERE = {
    "attach": "`pelagos logs -f` shows the output of a detached container",
    "build": "`pelagos pack` makes an image of a module",
    "compile": "`pelagos cache warm` compiles a module",
    "container": "containers are listed by `pelagos ps`",
    "create": "`pelagos run -d` creates and starts a container",
    "explore": "`pelagos inspect` shows a module",
    "image": _IMAGES,
    "images": _IMAGES,
    "info": "`pelagos doctor` looks at the node, `pelagos backends` lists the engines",
    "list": "containers are listed by `pelagos ps`, engines by `pelagos backends`",
    "load": _IMAGES,
    "ls": "containers are listed by `pelagos ps`, engines by `pelagos backends`",
    "pull": _IMAGES,
    "push": "`pelagos pack` writes a file, which `ctr images import` and tools of registries take",
    "restart": "`pelagos run` runs it again",
    "serve": "`pelagos run -p 8080:8080` serves a component that handles HTTP",
    "start": "`pelagos run -d` starts a container",
    "system": "`pelagos doctor` looks at the node",
    "top": "`pelagos stats` shows what containers use",
}
# Of commands that are named as a word of Python's is.
_FUNCTIONS = {"exec": "execute"}


class _Commands(Group):
    elsewhere = _ELSEWHERE

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise SystemExit(exit_codes.INTERRUPTED) from None
        except OSError as error:  # click would make 1 of a reader that has left, too
            raise SystemExit(_lost(error)) from None

    def chapters(self, ctx: click.Context) -> Iterator[tuple[str, list[str]]]:
        return ((title, list(names)) for title, names in _SECTIONS.items())

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(_COMMANDS[cmd_name])
        command: click.Command = getattr(module, _FUNCTIONS.get(cmd_name, cmd_name))
        return command


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
        voice.complain(error)
        return exit_codes.FAULT
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else exit_codes.FAULT


def _lost(error: OSError) -> int:
    if error.errno == errno.EPIPE:
        return exit_codes.NO_READER
    voice.complain(
        f"standard output: {exit_codes.describe(error)}" if not error.filename else exit_codes.describe(error)
    )
    return exit_codes.FAULT
