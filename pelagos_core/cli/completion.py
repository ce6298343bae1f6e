"""`pelagos completion`, and the functions that complete arguments of commands.

Source: click's documentation, "Shell Completion". The shell starts a `pelagos` process for each completion, so the
functions import what they need themselves. An error gives no completions.
"""

from __future__ import annotations

import os

import click
from click.shell_completion import CompletionItem, get_completion_class

from pelagos_core.cli.command import command

SHELLS = ("bash", "zsh", "fish")
_VARIABLE = "_PELAGOS_COMPLETE"  # click reads it; the name is derived from the program's


@command()
@click.argument("shell", type=click.Choice(SHELLS), required=False)
def completion(shell: str | None) -> None:
    """Print the completion script of a shell.

    The shell then completes commands, options, files, backends and containers. The first example is for the current
    shell, which $SHELL names; the others are for all new shells.

    \b
    eval "$(pelagos completion)"
    pelagos completion bash > /etc/bash_completion.d/pelagos
    pelagos completion zsh > "${fpath[1]}/_pelagos"
    pelagos completion fish > ~/.config/fish/completions/pelagos.fish
    """
    name = shell or os.path.basename(os.environ.get("SHELL", ""))
    if name not in SHELLS:
        raise click.UsageError(f"name a shell: {', '.join(SHELLS)}")
    found = get_completion_class(name)
    assert found
    context = click.get_current_context().find_root()
    click.echo(found(context.command, {}, "pelagos", _VARIABLE).source())


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Files and directories; the shell completes them itself."""
    return [CompletionItem(incomplete, type="file")]


def backends(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """`auto` and the names of installed backends, without loading them."""
    from importlib import metadata

    from pelagos_core.plugin.hookspecs import ENTRY_POINT_GROUP

    names = {point.name for point in metadata.entry_points(group=ENTRY_POINT_GROUP)} | {"auto"}
    return sorted(name for name in names if name.startswith(incomplete))


def running(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The running containers of this user's `pelagos run`, by name and by id."""
    return _containers(incomplete, ended=False)


def containers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The running containers, and detached ones that have ended."""
    return _containers(incomplete, ended=True)


def files_and_containers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What `inspect` takes."""
    # Files first: click's script for bash forgets all that was before them.
    return [*files(ctx, param, incomplete), *containers(ctx, param, incomplete)]


def signals(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of signals."""
    import signal

    names = sorted(each.name.removeprefix("SIG") for each in signal.Signals)
    return [name for name in names if name.startswith(incomplete.upper().removeprefix("SIG"))]


def _containers(incomplete: str, *, ended: bool) -> list[CompletionItem]:
    from pelagos_core.daemon import runs

    found = runs.listed(os.geteuid(), ended=ended)
    items = [(name, run) for run in found for name in (run.name, run.id) if name]
    return [CompletionItem(name, help=" ".join(run.command)) for name, run in items if name.startswith(incomplete)]
