"""`pelagos ps`: the containers of this user's `pelagos run`."""

from __future__ import annotations

import json
import os
import shlex
import time
from typing import Any

import click

from pelagos_core.api import task_pb2 as api
from pelagos_core.api import types_pb2
from pelagos_core.cli import asking, formats, node_page
from pelagos_core.cli.command import command
from pelagos_core.cli.connection import TASK
from pelagos_core.cli.formats import json_option
from pelagos_core.cli.table import print_table
from pelagos_core.config import duration
from pelagos_core.daemon import runs
from pelagos_core.daemon.runs import Run
from pelagos_core.errors import PelagosError

_STATUS = {
    types_pb2.CREATED: "created",
    types_pb2.RUNNING: "running",
    types_pb2.PAUSING: "pausing",
    types_pb2.PAUSED: "paused",
    types_pb2.STOPPED: "stopped",
}
_STARTING = "starting"
_SILENT = "no answer"


@command()
@click.option("--node", is_flag=True, help="All of pelagos on this node, also those of containerd.")
@click.option("-a", "--all", "ended", is_flag=True, help="Also detached ones that have ended.")
@click.option("-q", "--quiet", is_flag=True, help="Print the ids alone.")
@formats.whole
@json_option
def ps(node: bool, ended: bool, quiet: bool, whole: bool, as_json: bool) -> None:
    """List the containers of your `pelagos run` commands.

    PID is the program's process on this host. The status `starting` means that the container is being created.
    --node also lists the containers of containerd, and needs root. End those by `ctr`, `crictl` or `kubectl`.

    \b
    pelagos ps
    pelagos ps -a --format json
    pelagos rm -f $(pelagos ps -aq)
    pelagos ps --node
    """
    if node:
        node_page.show(quiet=quiet, whole=whole, as_json=as_json)
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
    header = ["ID", "NAME", "PID", "BACKEND", "STATUS", "AGE", "COMMAND"]
    print_table(header, [_row(row, now) for row in rows], is_whole=whole)


def described(found: list[Run]) -> list[dict[str, object]]:
    """The records of these runs, with the states that their daemons report."""
    asked = [run for run in found if _known(run) is None]
    requests = [(run.address, api.StateRequest(id=run.id)) for run in asked]
    answers = {run.id: answer for run, answer in zip(asked, asking.ask(TASK, "State", requests), strict=True)}
    return [_row_of(run, *_state(_known(run), answers.get(run.id))) for run in found]


def _known(run: Run) -> str | None:
    """The status of a run, if it is known without its daemon; else None."""
    if run.ended:
        return f"exited {run.exit_code}"
    return None if run.address and run.backend else _STARTING


def _state(known: str | None, answer: Any) -> tuple[int, str]:  # noqa: ANN401 (of `asking.ask`)
    """The program's pid, 0 if there is none yet, and its status."""
    if known is not None:
        return 0, known
    if answer is None:
        return 0, _SILENT
    if isinstance(answer, PelagosError):  # it has just ended
        return 0, _STATUS[types_pb2.STOPPED]
    return answer.pid, _STATUS.get(answer.status, "unknown")


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
