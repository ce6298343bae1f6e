"""`pelagos exec`: a further process in a container of this user's `pelagos run`."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys

import click
from google.protobuf.any_pb2 import Any as AnyMessage

from pelagos_core.api import task_pb2 as api
from pelagos_core.cli import completion, exit_codes, mount_option, pairs, terminal, voice
from pelagos_core.cli.attached import Attached, Stdio
from pelagos_core.cli.command import command
from pelagos_core.cli.connection import TASK, Connection
from pelagos_core.cli.progress import Progress
from pelagos_core.cli.signals import Ended, Signals
from pelagos_core.cli.waiting import Waiting
from pelagos_core.daemon import runs
from pelagos_core.daemon.runs import Run
from pelagos_core.errors import FailedPrecondition, PelagosError

# containerd's type of an OCI process (typeurl's registration of specs.Process).
_PROCESS_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Process"


@command(name="exec", context_settings={"allow_interspersed_args": False})
@click.option("-e", "--env", "env", multiple=True, metavar="NAME[=VALUE]", help="Set a variable, or pass yours on.")
@click.option("-w", "--workdir", default="", metavar="DIR", help="Working directory.  [default: the container's]")
@click.option("-i", "--interactive", is_flag=True, help="Pass standard input on.")
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal; with -i, yours.")
@click.argument("container", shell_complete=completion.running)
@click.argument("path", metavar="PATH[#FUNCTION]")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def execute(
    env: tuple[str, ...],
    workdir: str,
    interactive: bool,
    tty: bool,
    container: str,
    path: str,
    args: tuple[str, ...],
) -> None:
    """Run another program in a running container.

    PATH is a module or a native program in the container. A module is a new instance: it shares
    files with the first, not memory.

    \b
    pelagos exec web /app.wasm status
    pelagos exec -it shell /bin/sh

    Exit codes: the program's own, and those of `pelagos run`.
    """
    try:
        if interactive and tty and not terminal.is_there():
            raise FailedPrecondition("--tty: standard input is not a terminal")
        run = runs.find(os.geteuid(), container)
        process = _process(run, (path, *args), pairs.variables(env), workdir, tty=tty)
        code = _execute(run, path, process, interactive=interactive, tty=tty)
    except Ended as ended:
        code = exit_codes.of_signal(ended.signum)
    except PelagosError as error:
        voice.complain(error)
        code = exit_codes.of_error(error)
    sys.exit(code)


def _process(run: Run, args: tuple[str, ...], env: tuple[str, ...], workdir: str, *, tty: bool) -> dict[str, object]:
    """The OCI `process` of an exec: the container's own with other arguments. Raises PelagosError or OSError."""
    bundle = os.path.join(runs.directory_of(os.geteuid(), run), "bundle")
    with open(os.path.join(bundle, "config.json"), encoding="utf-8") as file:
        process: dict[str, object] = json.load(file)["process"]
    own = process["env"]
    assert isinstance(own, list)
    process |= {"args": args, "env": [*own, *env], "terminal": tty}
    if workdir:
        process["cwd"] = mount_option.absolute(workdir, "--workdir")
    return process


def _execute(run: Run, name: str, process: dict[str, object], *, interactive: bool, tty: bool) -> int:
    exec_id = f"exec-{os.urandom(4).hex()}"
    directory = os.path.join(runs.directory_of(os.geteuid(), run), exec_id)
    os.mkdir(directory, 0o700)
    try:
        stdio = Stdio.make(directory, interactive=interactive, tty=tty)
        with Waiting() as waiting, Connection(run.address, waiting) as connection:
            signals = Signals(waiting)
            request = api.ExecProcessRequest(
                id=run.id,
                exec_id=exec_id,
                terminal=tty,
                **stdio._asdict(),
                spec=AnyMessage(type_url=_PROCESS_TYPE, value=json.dumps(process).encode()),
            )
            attached = Attached(connection, waiting, signals, run.id, exec_id)
            try:
                with contextlib.closing(Progress(f"preparing {name}").keep_up(waiting)) as progress:
                    return attached.run(stdio, lambda: connection.call(TASK, "Exec", request), progress.close, tty=tty)
            finally:
                connection.call(TASK, "Delete", api.DeleteRequest(id=run.id, exec_id=exec_id))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
