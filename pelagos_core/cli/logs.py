"""`pelagos logs`: the output of a detached container."""

from __future__ import annotations

import os
from collections import deque
from io import BufferedReader

import click

from pelagos_core.api import task_pb2 as api
from pelagos_core.cli import completion
from pelagos_core.cli.command import command
from pelagos_core.cli.connection import TASK, Connection
from pelagos_core.cli.waiting import Waiting
from pelagos_core.daemon import runs
from pelagos_core.daemon.runs import Run
from pelagos_core.errors import FailedPrecondition, PelagosError

_CHUNK = 64 << 10
_LOOK_SECONDS = 0.1  # between two reads of a growing file


@command()
@click.option("-f", "--follow", is_flag=True, help="Print new output until it has ended.")
@click.option("-n", "--tail", type=click.IntRange(0), metavar="LINES", help="Only the last lines.")
@click.argument("container", shell_complete=completion.containers)
def logs(follow: bool, tail: int | None, container: str) -> None:
    """Print the output of a detached container, also after it has ended.

    Standard output and standard error are in one file, so that their order is preserved.

    \b
    pelagos logs web
    pelagos logs -f -n 10 web
    """
    run = runs.find(os.geteuid(), container, ended=True)
    if not run.is_detached:
        raise FailedPrecondition(f"container {run.id!r} is not detached: its output is at its own terminal")
    with open(runs.output_path(runs.directory_of(os.geteuid(), run)), "rb") as file:
        for line in deque(file, maxlen=tail) if tail is not None else ():
            _write(line)
        _copy(file)
        if follow and not run.ended:
            _follow(run, file)


def _copy(file: BufferedReader) -> None:
    """Print the file from the current position to its end."""
    while data := file.read1(_CHUNK):
        _write(data)


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


def _follow(run: Run, file: BufferedReader) -> None:
    """Print further output until the container has ended."""
    with Waiting() as waiting:
        try:
            with Connection(run.address, waiting) as connection:
                ended = connection.send(TASK, "Wait", api.WaitRequest(id=run.id))
                while not waiting.until(lambda: ended.has_come, _LOOK_SECONDS):
                    _copy(file)
        except PelagosError:  # it has just ended
            pass
    _copy(file)
