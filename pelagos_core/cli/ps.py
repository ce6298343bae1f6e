"""`pelagos ps`: the containers of this user's `pelagos run`."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import time

import click

from pelagos_core.api import task_pb2 as api
from pelagos_core.api import types_pb2
from pelagos_core.cli import node_page
from pelagos_core.cli.connection import TASK, Answer, Connection
from pelagos_core.cli.table import print_table
from pelagos_core.cli.waiting import Waiting
from pelagos_core.config import duration
from pelagos_core.daemon import runs
from pelagos_core.daemon.runs import Run
from pelagos_core.errors import PelagosError

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
@click.option("--node", is_flag=True, help="All containers of pelagos on this node, those of containerd too.")
@click.option("-a", "--all", "ended", is_flag=True, help="Also the detached ones that have ended.")
@click.option("-q", "--quiet", is_flag=True, help="Print the ids alone.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ps(node: bool, ended: bool, quiet: bool, as_json: bool) -> None:
    """List the containers of your `pelagos run` commands.

    PID is the program's process on this host. One that is still being made is `starting`.
    With --node those of containerd are listed too, as `ctr task ls` and `crictl ps` do; they are
    theirs to end. That needs root.
    """
    if node:
        node_page.show(quiet=quiet, as_json=as_json)
        return
    found = runs.listed(os.geteuid(), ended=ended)
    if quiet:
        for run in found:
            click.echo(run.id)
        return
    rows = described(found)
    if as_json:
        click.echo(json.dumps(rows))
        return
    now = time.time()
    print_table(["ID", "NAME", "PID", "BACKEND", "STATUS", "AGE", "COMMAND"], [_row(row, now) for row in rows])


def described(found: list[Run]) -> list[dict[str, object]]:
    """What the daemons say, of all of which the answers are waited for at the same time."""
    with Waiting() as waiting, contextlib.ExitStack() as stack:
        asked = [_ask(run, waiting, stack) for run in found]
        waiting.until(lambda: all(isinstance(each, str) or each.has_come for each in asked), _SECONDS)
    return [_row_of(run, *_state(answer)) for run, answer in zip(found, asked, strict=True)]


def _ask(run: Run, waiting: Waiting, stack: contextlib.ExitStack) -> Answer | str:
    """Ask its daemon for its state; the answer to come, or what is known without."""
    if run.ended:
        return f"exited {run.exit_code}"
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
        "name": run.name,
        "detached": run.is_detached,
        **({"ended": run.ended, "exit_code": run.exit_code} if run.ended else {}),
    }


def _row(row: dict[str, object], now: float) -> list[str]:
    command = row["command"]
    assert isinstance(command, list)
    return [
        str(row["id"]),
        str(row["name"] or "-"),
        str(row["pid"] or "-"),
        str(row["backend"] or "-"),
        str(row["status"]),
        duration.describe(now - float(str(row["started"]))),
        shlex.join(command),
    ]
