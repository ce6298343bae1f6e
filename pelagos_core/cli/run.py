"""`pelagos run`: runs one container without containerd, through the same shim."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from pelagos_core.cli import completion, exit_codes, rootless, run_options, terminal, voice
from pelagos_core.cli.backend_option import backend_option, in_its_words
from pelagos_core.cli.command import command
from pelagos_core.errors import FailedPrecondition, PelagosError


@command(
    context_settings={"allow_interspersed_args": False},
    sections={
        "How it runs": "backend detach removed name interactive tty watched explain",
        "What it sees": "env env_files workdir user hostname annotations",
        "Files": "volumes mounts directories tmpfs read_only",
        "Network": "ports network",
        "Limits": "memory cpus cpuset pids fuel deadline",
    },
)
@click.option("-e", "--env", "env", multiple=True, metavar="NAME[=VALUE]", help="Set a variable, or pass yours on.")
@click.option(
    "--env-file",
    "env_files",
    multiple=True,
    metavar="FILE",
    shell_complete=completion.files,
    help="Set the variables of a file, one a line.",
)
@backend_option("The backend that runs it.  [default: auto, the best]")
@click.option(
    "--mount",
    "mounts",
    multiple=True,
    metavar="SPEC",
    help="type=bind,source=DIR,target=DIR[,readonly] or type=tmpfs,target=DIR.",
)
@click.option("-v", "--volume", "volumes", multiple=True, metavar="SOURCE:TARGET[:ro]", help="A bind mount, for short.")
@click.option(
    "--dir",
    "directories",
    multiple=True,
    metavar="HOST[::GUEST]",
    help="A bind mount as engines write it; without GUEST under HOST's own path.",
)
@click.option(
    "--tmpfs", multiple=True, metavar="DIR[:OPTIONS]", help="An empty directory in memory, such as /tmp:size=64m."
)
@click.option("--read-only", is_flag=True, help="Its root cannot be written to; mounts can.")
@click.option("-w", "--workdir", default="/", metavar="DIR", help="Working directory in the container.")
@click.option("-u", "--user", default="", metavar="UID[:GID]", help="User and group, in numbers.")
@click.option("--hostname", default="", metavar="NAME", help="The host's name in the container.")
@click.option(
    "-p",
    "--publish",
    "ports",
    multiple=True,
    metavar="[IP:]PORT:PORT[/udp]",
    help="Forward a port of the host to one of the container.",
)
@click.option(
    "--network",
    type=click.Choice(["none", "host"]),
    default="none",
    help="none: only published ports; host: the host's network.  [default: none]",
)
@click.option("-m", "--memory", default="", metavar="SIZE", help="Memory limit, such as 64m or 1g.")
@click.option("--cpus", type=float, metavar="N", help="Processors it may use, such as 0.5.")
@click.option("--cpuset-cpus", "cpuset", default="", metavar="LIST", help="Which ones, such as 0-2,4.")
@click.option("--pids-limit", "pids", type=int, metavar="N", help="Processes and threads it may have; -1 for no limit.")
@click.option("--fuel", type=click.IntRange(1), metavar="N", help="Units of execution after which a guest traps.")
@click.option("--deadline", default="", metavar="TIME", help="The time after which a guest is ended, such as 1m30s.")
@click.option("--annotation", "annotations", multiple=True, metavar="NAME=VALUE", help="An annotation of the spec.")
@click.option("--name", default="", metavar="NAME", help="A name for `ps`, `kill` and the like, beside the id.")
@click.option("-d", "--detach", is_flag=True, help="Print its id and leave it running; `logs` has its output.")
@click.option("--rm", "removed", is_flag=True, help="With -d: leave nothing of it once it has ended.")
@click.option("-i", "--interactive", is_flag=True, help="Pass standard input on.")
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal; with -i, yours.")
@click.option("--watch/--no-watch", "watched", help="Run it again whenever the module's file changes, until ^C.")
@click.option(
    "--explain-plan",
    "explain",
    is_flag=True,
    help="Run nothing: print the steps by which it would be isolated.",
)
@click.argument("target", metavar="MODULE|ROOTFS", shell_complete=completion.files)
@click.argument("args", nargs=-1, type=click.UNPROCESSED, shell_complete=completion.files)
def run(target: str, args: tuple[str, ...], **chosen: Any) -> None:  # noqa: ANN401 (click's options: see Options)
    """Run a WebAssembly program in a container.

    MODULE is a .wasm or .wat file of at most 1 GiB, or - for standard input. ARGS are its arguments.
    ROOTFS is a directory that becomes the container's root. The first of ARGS is then the module's path in it.

    \b
    pelagos run hello.wasm
    pelagos run -v ./data:/data:ro tool.wasm /data/in.txt
    pelagos run ./rootfs /app.wasm --flag
    pelagos run -it ./rootfs /bin/sh
    pelagos run -d --name web -p 8080:80 server.wasm
    pelagos run --explain-plan -m 64m hello.wasm

    Signals are forwarded to the program. When this command ends, the program ends too, unless it is detached (-d). Use
    `pelagos ps`, `logs`, `exec`, `stop` and `rm` for detached programs.

    Exit codes: the program's own; 124 after its deadline, 134 for a trap, 128+N if signal N has killed it. If it could
    not be run: 125 for a fault of pelagos, the host or this command line, 126 for a file that cannot be run, 127 for
    a missing file.
    """
    try:
        options = run_options.Options(**chosen)
        if options.interactive and options.tty and not options.explain and not terminal.is_there():
            raise FailedPrecondition("--tty: standard input is not a terminal")
        container = run_options.container(options, target, args)
        if options.explain:
            from pelagos_core.cli import plan_page

            click.echo("\n".join(plan_page.lines(container.config(), container.layers)))
            return
        if options.watched:
            from pelagos_core.cli import watch

            sys.exit(watch.watch(run_options.watched_file(options, target, args), sys.argv[2:], 1 + len(args)))
        uid = os.geteuid()
        rootless.enter()
        code = container.run(uid, run_options.record(options, (target, *args)), interactive=options.interactive)
    except PelagosError as error:
        voice.complain(in_its_words(str(error)) if chosen["backend"] else error)
        code = exit_codes.of_error(error)
    except OSError as error:
        voice.complain(exit_codes.describe(error))
        code = exit_codes.FAILED
    sys.exit(code)
