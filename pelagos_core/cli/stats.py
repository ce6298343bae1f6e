"""`pelagos stats`: the resource usage of containers of this user's `pelagos run`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping

import click
from google.protobuf.any_pb2 import Any as AnyMessage

from pelagos_core.api import metrics_v1_pb2, metrics_v2_pb2
from pelagos_core.api import task_pb2 as api
from pelagos_core.cli import asking, completion, formats
from pelagos_core.cli.command import command
from pelagos_core.cli.connection import TASK
from pelagos_core.cli.formats import json_option
from pelagos_core.cli.table import print_table
from pelagos_core.config import size
from pelagos_core.daemon import runs
from pelagos_core.daemon.runs import Run
from pelagos_core.errors import NotFound, PelagosError, Unavailable

_INTERVAL_SECONDS = 1.0
_NO_LIMIT = 1 << 60  # cgroup v1 says "no limit" by a number of nearly 2^63


@command()
@click.option("--no-stream", "once", is_flag=True, help="Print one table and end.")
@formats.whole
@json_option
@click.argument("names", metavar="[CONTAINER...]", nargs=-1, shell_complete=completion.running)
def stats(once: bool, whole: bool, as_json: bool, names: tuple[str, ...]) -> None:
    """Show what containers use: processor time, memory, processes.

    Without names, it shows all your running containers. CPU is relative to one processor: 200% are two processors. On a
    terminal it repeats until ^C; elsewhere, and with --format json, it prints once.

    \b
    pelagos stats
    pelagos stats --no-stream web
    """
    found = [runs.find(os.geteuid(), name) for name in names] or runs.listed(os.geteuid())
    before, then = _measured(found), time.monotonic()
    while True:
        time.sleep(_INTERVAL_SECONDS)
        now = time.monotonic()
        after = _measured(found if names else runs.listed(os.geteuid()))
        rows = [_row(name, before.get(name), figures, now - then) for name, figures in after.items()]
        if as_json:
            click.echo(json.dumps(rows))
            return
        if os.isatty(1) and not once:
            click.clear()
        header = ["ID", "NAME", "CPU", "MEMORY", "LIMIT", "PROCESSES"]
        print_table(header, [_cells(row) for row in rows], is_whole=whole)
        if once or not os.isatty(1):
            return
        before, then = after, now


Figures = dict[str, object]


def _measured(found: list[Run]) -> Mapping[str, Figures]:
    """The usage of each container, by its id, without those that have ended meanwhile or do not answer.

    Raises any other error of a daemon.
    """
    begun = [run for run in found if run.address]
    answers = asking.ask(TASK, "Stats", [(run.address, api.StatsRequest(id=run.id)) for run in begun])
    measured = {}
    for run, answer in zip(begun, answers, strict=True):
        if answer is None or isinstance(answer, NotFound | Unavailable):
            continue
        if isinstance(answer, PelagosError):
            raise answer
        measured[run.id] = {"name": run.name, **_figures(answer.stats)}
    return measured


def _figures(stats: AnyMessage) -> Figures:
    """The figures of cgroup v1 or v2 under the same names: seconds, bytes, numbers."""
    if stats.type_url.endswith("io.containerd.cgroups.v2.Metrics"):
        v2 = metrics_v2_pb2.Metrics.FromString(stats.value)
        limit = v2.memory.usage_limit
        found = v2.cpu.usage_usec / 1e6, v2.memory.usage, v2.pids.current
    else:
        v1 = metrics_v1_pb2.Metrics.FromString(stats.value)
        limit = v1.memory.usage.limit
        found = v1.cpu.usage.total / 1e9, v1.memory.usage.usage, v1.pids.current
    seconds, memory, processes = found
    return {
        "cpu_seconds": seconds,
        "memory": memory,
        "memory_limit": limit if 0 < limit < _NO_LIMIT else None,
        "processes": processes,
    }


def _row(name: str, before: Figures | None, after: Figures, seconds: float) -> Figures:
    used = _number(after["cpu_seconds"]) - _number(before["cpu_seconds"]) if before else 0.0
    return {"id": name, **after, "cpu_percent": round(100 * used / seconds, 1)}


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)


def _cells(row: Figures) -> list[str]:
    limit = row["memory_limit"]
    return [
        str(row["id"]),
        str(row["name"] or "-"),
        f"{row['cpu_percent']}%",
        size.describe(int(_number(row["memory"]))),
        size.describe(int(_number(limit))) if limit else "-",
        str(row["processes"]),
    ]
