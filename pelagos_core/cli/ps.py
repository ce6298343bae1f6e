"""`pelagos ps` and `pelagos kill`: the containers of this user's `pelagos run`."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import time

import click

from pelagos_core.api import task_pb2 as api
from pelagos_core.api import types_pb2
from pelagos_core.cli import exit_codes
from pelagos_core.cli.connection import TASK, Answer, Connection
from pelagos_core.cli.table import print_table
from pelagos_core.cli.waiting import Waiting
from pelagos_core.config import duration
from pelagos_core.daemon import runs
from pelagos_core.daemon.runs import Run
from pelagos_core.errors import FailedPrecondition, PelagosError

_SECONDS = 2.0  # for a daemon to answer; one that is stopped does not
_STATUS = {
    types_pb2.CREATED: "created",
    types_pb2.RUNNING: "running",
    types_pb2.PAUSING: "pausing",
    types_pb2.PAUSED: "paused",
    types_pb2.STOPPED: "stopped",
}
_STARTING = "starting"
_SILENT = "no answer"


@click.command()
@click.option("-q", "--quiet", is_flag=True, help="Print the ids alone.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ps(quiet: bool, as_json: bool) -> None:
    """List the containers of your `pelagos run` commands.

    PID is the program's process on this host. One that is still being made is `starting`.
    Containers of containerd are listed by `ctr task ls` and `crictl ps`.
    """
    found = runs.listed(os.geteuid())
    if quiet:
        for run in found:
            click.echo(run.id)
        return
    rows = _described(found)
    if as_json:
        click.echo(json.dumps(rows))
        return
    now = time.time()
    print_table(["ID", "PID", "BACKEND", "STATUS", "AGE", "COMMAND"], [_row(row, now) for row in rows])


@click.command()
@click.option("-s", "--signal", "name", default="KILL", show_default=True, metavar="SIGNAL", help="A name or number.")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
def kill(name: str, ids: tuple[str, ...]) -> None:
    """Send a signal to containers of your `pelagos run` commands.

    ID is an id that `pelagos ps` lists, or the beginning of one. Prints the ids of those that
    have got the signal. Exit code 1 if one has not.
    """
    signum = _number(name)
    code = exit_codes.OK
    for word in ids:
        try:
            run = runs.find(os.geteuid(), word)
            _kill(run, signum)
            click.echo(run.id)
        except PelagosError as error:
            click.echo(f"pelagos: {error}", err=True)
            code = exit_codes.FAULT
    raise SystemExit(code)


def _described(found: list[Run]) -> list[dict[str, object]]:
    """What the daemons say, of all of which the answers are waited for at the same time."""
    with Waiting() as waiting, contextlib.ExitStack() as stack:
        asked = [_ask(run, waiting, stack) for run in found]
        waiting.until(lambda: all(isinstance(each, str) or each.has_come for each in asked), _SECONDS)
    return [_row_of(run, *_state(answer)) for run, answer in zip(found, asked, strict=True)]


def _ask(run: Run, waiting: Waiting, stack: contextlib.ExitStack) -> Answer | str:
    """Ask its daemon for its state; the answer to come, or what is known without."""
    if not run.address or not run.backend:
        return _STARTING
    try:
        connection = stack.enter_context(Connection(run.address, waiting))
    except PelagosError:  # it has ended in this moment
        return _STATUS[types_pb2.STOPPED]
    return connection.send(TASK, "State", api.StateRequest(id=run.id), _SECONDS)


def _state(answer: Answer | str) -> tuple[int, str]:
    """The program's pid, 0 before there is one, and its status."""
    if isinstance(answer, str):
        return 0, answer
    if not answer.has_come:
        return 0, _SILENT
    try:
        said = answer.message()
    except PelagosError:  # as above
        return 0, _STATUS[types_pb2.STOPPED]
    return said.pid, _STATUS.get(said.status, "unknown")


def _row_of(run: Run, pid: int, status: str) -> dict[str, object]:
    return {
        "id": run.id,
        "pid": pid,
        "backend": run.backend,
        "status": status,
        "started": run.started,
        "command": list(run.command),
    }


def _kill(run: Run, signum: int) -> None:
    if not run.address:
        raise FailedPrecondition(f"container {run.id!r} is starting: it has no process yet")
    with Waiting() as waiting, Connection(run.address, waiting) as connection:
        answer = connection.send(TASK, "Kill", api.KillRequest(id=run.id, signal=signum), _SECONDS)
        if not waiting.until(lambda: answer.has_come, _SECONDS):
            raise FailedPrecondition(f"container {run.id!r}: its shim does not answer")
        answer.message()


def _number(name: str) -> int:
    if name.isascii() and name.isdecimal() and int(name) in signal.valid_signals():
        return int(name)
    try:
        return signal.Signals[f"SIG{name.upper().removeprefix('SIG')}"]
    except KeyError:
        raise click.BadParameter(f"{name!r} is not a signal such as TERM or 15", param_hint="--signal") from None


def _row(row: dict[str, object], now: float) -> list[str]:
    command = row["command"]
    assert isinstance(command, list)
    return [
        str(row["id"]),
        str(row["pid"] or "-"),
        str(row["backend"] or "-"),
        str(row["status"]),
        duration.describe(now - float(str(row["started"]))),
        shlex.join(command),
    ]
