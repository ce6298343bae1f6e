"""`pelagos run`: one container, without containerd, through the very shim that it uses."""

from __future__ import annotations

import os
import sys

import click

from pelagos_core.cli import exit_codes, module_file, mount_option, pairs, rootless, terminal
from pelagos_core.cli.embedded import Container
from pelagos_core.config import size
from pelagos_core.errors import FailedPrecondition, InvalidArgument, PelagosError
from pelagos_core.plugin.kind import split_func

_PERIOD_MICROSECONDS = 100_000
_LEAST_CPUS = 0.01  # the kernel's shortest quota is a millisecond
# docker's own; with less the engine of even an empty module is killed before it can say anything.
_LEAST_MEMORY = 6 << 20


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("-e", "--env", "env", multiple=True, metavar="NAME[=VALUE]", help="Set a variable, or pass yours on.")
@click.option(
    "--backend", default="", metavar="NAME", help="Which backend runs it; auto takes the best.  [default: auto]"
)
@click.option(
    "--mount",
    "mounts",
    multiple=True,
    metavar="SPEC",
    help="type=bind,source=DIR,target=DIR[,readonly] or type=tmpfs,target=DIR.",
)
@click.option("-v", "--volume", "volumes", multiple=True, metavar="SOURCE:TARGET[:ro]", help="A bind mount, for short.")
@click.option("-w", "--workdir", default="/", metavar="DIR", help="Working directory in the container.")
@click.option("-m", "--memory", default="", metavar="SIZE", help="Memory limit, such as 64m or 1g.")
@click.option("--cpus", type=float, metavar="N", help="Processors it may use, such as 0.5.")
@click.option("--cpuset-cpus", "cpuset", default="", metavar="LIST", help="Which ones, such as 0-2,4.")
@click.option("--pids-limit", "pids", type=int, metavar="N", help="Processes and threads it may have; -1 for no limit.")
@click.option("--annotation", "annotations", multiple=True, metavar="NAME=VALUE", help="An annotation of the spec.")
@click.option("-i", "--interactive", is_flag=True, help="Pass standard input on.")
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal; with -i, yours.")
@click.option(
    "--explain-plan",
    "explain",
    is_flag=True,
    help="Run nothing: print each step that its processes would take to isolate themselves.",
)
@click.argument("target", metavar="MODULE|ROOTFS")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def run(
    env: tuple[str, ...],
    backend: str,
    mounts: tuple[str, ...],
    volumes: tuple[str, ...],
    workdir: str,
    memory: str,
    cpus: float | None,
    cpuset: str,
    pids: int | None,
    annotations: tuple[str, ...],
    interactive: bool,
    tty: bool,
    explain: bool,
    target: str,
    args: tuple[str, ...],
) -> None:
    """Run a WebAssembly program in a container.

    MODULE is a .wasm or .wat file of 1 GiB at the most; ARGS are its arguments. ROOTFS is a directory that
    becomes the container's root; then the first of ARGS is the module's path in it.

    \b
    pelagos run hello.wasm
    pelagos run -v ./data:/data:ro tool.wasm /data/in.txt
    pelagos run ./rootfs /app.wasm --flag
    pelagos run -it ./rootfs /bin/sh
    pelagos run --explain-plan -m 64m hello.wasm

    The exit code is the program's; 134 is a trap, 128+N the death by signal N. If it
    could not be run: 125 for a fault of pelagos, the host or this command line, 126 for a
    file that cannot be run, 127 for one that is not there. Signals are passed on to the
    program. Whatever ends this command ends the program too.
    """
    try:
        if interactive and tty and not explain and not terminal.is_there():
            raise FailedPrecondition("--tty: standard input is not a terminal")
        container = Container(
            *_program(target, args),
            env=pairs.variables(env),
            cwd=mount_option.absolute(workdir, "--workdir"),
            mounts=(*map(mount_option.mount, mounts), *map(mount_option.volume, volumes)),
            annotations=_annotations(annotations, backend),
            resources=_resources(memory, cpus, cpuset, pids),
            memory=_bytes(memory),
            terminal=tty,
        )
        if explain:
            from pelagos_core.cli import plan_page

            click.echo("\n".join(plan_page.lines(container.config(), container.layers)))
            return
        uid = os.geteuid()
        rootless.enter()
        code = container.run(uid, (target, *args), interactive=interactive)
    except PelagosError as error:
        click.echo(f"pelagos: {_in_words_of_the_option(error) if backend else error}", err=True)
        code = exit_codes.of_error(error)
    except OSError as error:
        click.echo(f"pelagos: {exit_codes.describe(error)}", err=True)
        code = exit_codes.FAILED
    sys.exit(code)


def _program(target: str, args: tuple[str, ...]) -> tuple[str | None, tuple[int, str] | None, tuple[str, ...]]:
    """What to run: a rootfs or a module, and argv."""
    if os.path.isdir(target):
        if not args:
            raise click.UsageError(f"{target} is a directory: name the module in it, e.g. /app.wasm")
        return os.path.realpath(target), None, args
    path, func = split_func(target)
    file = module_file.open_module(path)
    name = os.path.basename(path)
    return None, (file, name), (f"/{name}#{func}" if func else f"/{name}", *args)


def _annotations(words: tuple[str, ...], backend: str) -> dict[str, str]:
    found = pairs.pairs(words, "--annotation")
    if backend:
        from pelagos_core.plugin.bundle import RUNTIME_ANNOTATION

        found[RUNTIME_ANNOTATION] = backend
    return found


def _in_words_of_the_option(error: PelagosError) -> str:
    from pelagos_core.cli.backend_option import in_its_words

    return in_its_words(str(error))


def _resources(memory: str, cpus: float | None, cpuset: str, pids: int | None) -> dict[str, object]:
    """`linux.resources` for docker's options."""
    if cpus is not None and not _LEAST_CPUS <= cpus <= (os.cpu_count() or 1):
        raise click.BadParameter(f"{cpus:g} is not from {_LEAST_CPUS} to {os.cpu_count()}", param_hint="--cpus")
    cpu: dict[str, object] = {}
    if cpus is not None:
        cpu |= {"quota": round(cpus * _PERIOD_MICROSECONDS), "period": _PERIOD_MICROSECONDS}
    if cpuset:
        cpu["cpus"] = cpuset
    asked: dict[str, dict[str, object]] = {"memory": {"limit": _bytes(memory)}, "cpu": cpu, "pids": {"limit": pids}}
    return {name: part for name, part in asked.items() if any(value is not None for value in part.values())}


def _bytes(text: str) -> int | None:
    if not text:
        return None
    try:
        count = size.parse(text)
    except InvalidArgument as error:
        raise click.BadParameter(str(error), param_hint="--memory") from None
    if count < _LEAST_MEMORY:
        least = f"{_LEAST_MEMORY >> 20}m"
        raise click.BadParameter(f"{text!r} is too small for an engine: the least is {least}", param_hint="--memory")
    return count
