"""The `pelagos` command: its subcommands, and the handling of errors."""

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

# The commands by section, in the order of the help: the module of each, and its purpose, which is the beginning of its
# help. A module is imported only when its command is used, so that `pelagos run` and `pelagos --help` start fast.
_SECTIONS = {
    "Containers": {
        "run": ("run", "Run a WebAssembly program in a container."),
        "ps": ("ps", "List the containers of your `pelagos run` commands."),
        "logs": ("logs", "Print the output of a detached container, also after it has ended."),
        "exec": ("execute", "Run another program in a running container."),
        "stats": ("stats", "Show what containers use: processor time, memory, processes."),
        "stop": ("ending", "Stop containers: send SIGTERM, and after some time SIGKILL."),
        "kill": ("ending", "Send a signal to containers of your `pelagos run` commands."),
        "wait": ("ending", "Wait until containers have ended, and print their exit codes."),
        "rm": ("ending", "Remove detached containers that have ended, with their output."),
    },
    "Modules and engines": {
        "pack": ("pack", "Pack a WebAssembly program into an image."),
        "backends": ("backends", "List the installed backends and what each one can do."),
        "inspect": ("inspect", "Show what a module is and which engines can run it, or what a container is."),
        "compare": ("compare", "Run a program on every engine, and show differences and times."),
        "cache": ("cache", "Manage the compiled code that is cached on this node."),
        "conformance": ("conformance", "Test a backend and print which features work."),
    },
    "This node": {
        "install": ("install", "Make this node ready to run WebAssembly containers."),
        "uninstall": ("install", "Remove what `pelagos install` wrote, and no more."),
        "doctor": ("doctor", "Check whether this node can run WebAssembly containers."),
        "metrics": ("metrics", "Print the figures of this node's containers for Prometheus."),
        "zygote": ("zygote", "Run the zygote, which forks the shims of pods, in the foreground."),
        "completion": ("completion", "Print the completion script of a shell."),
        "version": ("version", "Print the versions of pelagos, Python and the kernel."),
    },
}
_COMMANDS = {name: found for section in _SECTIONS.values() for name, found in section.items()}
# Advice for commands that docker, podman or the command lines of engines have.
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
# Functions of commands whose names are keywords or built-ins of Python.
_FUNCTIONS = {"exec": "execute"}
_OF_PROGRAMS = ("run", "exec")  # their exit codes below 125 are those of programs


class _Commands(Group):
    elsewhere = _ELSEWHERE

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise SystemExit(exit_codes.INTERRUPTED) from None
        except OSError as error:  # click would also exit with 1 if stdout's reader has closed the pipe
            raise SystemExit(_lost(error)) from None

    def chapters(self, ctx: click.Context) -> Iterator[tuple[str, list[str]]]:
        return ((title, list(names)) for title, names in _SECTIONS.items())

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def purpose(self, ctx: click.Context, name: str) -> str:
        return _COMMANDS[name][1]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"pelagos_core.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, _FUNCTIONS.get(cmd_name, cmd_name))
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "--version", message="pelagos %(version)s")
def cli() -> None:
    """Run WebAssembly under containerd, with any engine.

    Try it without containerd: pelagos run hello.wasm
    """


def execute() -> int:
    """Run the command line of this process; return an exit code of `exit_codes`. An error is one line on stderr."""
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
        of_run = isinstance(error, click.UsageError) and error.ctx and error.ctx.command.name in _OF_PROGRAMS
        return exit_codes.FAILED if of_run else error.exit_code
    except PelagosError as error:
        voice.complain(error)
        return exit_codes.FAULT
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else exit_codes.FAULT
    except Exception as error:  # noqa: BLE001 (a fault of ours, which is never taken for the program's own exit code)
        import traceback  # here: there should be none

        traceback.print_exc()
        voice.complain(
            f"{type(error).__name__}: {error}: this is a fault of pelagos, please report it with the lines above"
        )
        return exit_codes.FAILED if voice.speaker() in _OF_PROGRAMS else exit_codes.FAULT


def _lost(error: OSError) -> int:
    if error.errno == errno.EPIPE:
        return exit_codes.NO_READER
    voice.complain(
        f"standard output: {exit_codes.describe(error)}" if not error.filename else exit_codes.describe(error)
    )
    return exit_codes.FAULT
