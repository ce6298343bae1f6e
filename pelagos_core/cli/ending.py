"""`pelagos kill`, `stop`, `wait` and `rm`: the end of containers of this user's `pelagos run`."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import click

from pelagos_core.api import task_pb2 as api
from pelagos_core.cli import completion, exit_codes
from pelagos_core.cli.connection import TASK, Connection
from pelagos_core.cli.waiting import Waiting
from pelagos_core.daemon import runs
from pelagos_core.daemon.runs import Run
from pelagos_core.errors import FailedPrecondition, NotFound, PelagosError, Unavailable

_SECONDS = 2.0  # for a daemon to answer; one that is stopped does not
_END_SECONDS = 10.0  # after SIGKILL, for a daemon to remove what there is
_LOOK_SECONDS = 0.02  # between two looks for a record that a daemon is about to write

_ids = click.argument("ids", metavar="CONTAINER...", nargs=-1, required=True, shell_complete=completion.containers)


@click.command()
@click.option("-s", "--signal", "name", default="KILL", show_default=True, metavar="SIGNAL", help="A name or number.")
@_ids
def kill(name: str, ids: tuple[str, ...]) -> None:
    """Send a signal to containers of your `pelagos run` commands.

    CONTAINER is a name, an id that `pelagos ps` lists, or the beginning of one. Prints what was
    given for those that have got the signal. Exit code 1 if one has not.
    """
    signum = _number(name)

    def send(word: str) -> None:
        run = _present(word)
        with Waiting() as waiting:
            _send(run, signum, waiting)
        click.echo(run.id)

    _each(ids, send)


@click.command()
@click.option("-t", "--time", "seconds", type=click.FloatRange(0), default=10.0, show_default=True, help="Seconds.")
@_ids
def stop(seconds: float, ids: tuple[str, ...]) -> None:
    """End containers: SIGTERM, and after some time SIGKILL.

    Waits until they have ended, and prints the ids. One that has ended already is no error.
    """

    def end(word: str) -> None:
        run = runs.find(os.geteuid(), word, ended=True)
        if not run.ended:
            _stop(run, seconds)
        click.echo(run.id)

    _each(ids, end)


@click.command()
@_ids
def wait(ids: tuple[str, ...]) -> None:
    """Wait until containers have ended, and print their exit codes."""

    def look(word: str) -> None:
        run = runs.find(os.geteuid(), word, ended=True)
        click.echo(run.exit_code if run.ended else _exit_code(run))

    _each(ids, look)


@click.command()
@click.option("-f", "--force", is_flag=True, help="One that runs too: it is killed.")
@_ids
def rm(force: bool, ids: tuple[str, ...]) -> None:
    """Remove detached containers that have ended: the record and the output."""

    def remove(word: str) -> None:
        run = runs.find(os.geteuid(), word, ended=True)
        if not run.ended:
            if not force:
                raise FailedPrecondition(f"container {run.id!r} is running: `pelagos stop` it first, or use --force")
            _stop(run, 0)
        try:
            runs.remove(runs.directory_of(os.geteuid(), run))
        except NotFound:  # it was to be removed at its end
            pass
        click.echo(run.id)

    _each(ids, remove)


def _each(words: tuple[str, ...], act: Callable[[str], None]) -> None:
    """Do it for each word. An error of one is printed and does not keep the others from their turn."""
    code = exit_codes.OK
    for word in words:
        try:
            act(word)
        except PelagosError as error:
            click.echo(f"pelagos: {error}", err=True)
            code = exit_codes.FAULT
    raise SystemExit(code)


def _present(word: str) -> Run:
    try:
        return runs.find(os.geteuid(), word)
    except NotFound:
        ended = runs.find(os.geteuid(), word, ended=True)
        raise FailedPrecondition(f"container {ended.id!r} has ended") from None


def _stop(run: Run, seconds: float) -> None:
    """SIGTERM, then SIGKILL; return once nothing of it runs. Raises FailedPrecondition."""
    with Waiting() as waiting:
        try:
            with Connection(run.address, waiting) as connection:
                ended = connection.send(TASK, "Wait", api.WaitRequest(id=run.id))
                if seconds:
                    _send(run, signal.SIGTERM, waiting)
                    waiting.until(lambda: ended.has_come, seconds)
                if not ended.has_come:
                    _send(run, signal.SIGKILL, waiting)
                    waiting.until(lambda: ended.has_come, _END_SECONDS)
        except (NotFound, Unavailable):  # it has ended in this moment
            pass
    end = time.monotonic() + _END_SECONDS
    while not _is_over(run):
        if time.monotonic() > end:
            raise FailedPrecondition(f"container {run.id!r}: its shim does not end")
        time.sleep(_LOOK_SECONDS)


def _is_over(run: Run) -> bool:
    """Whether its daemon has recorded its end, or removed it."""
    try:
        return bool(runs.find(os.geteuid(), run.id, ended=True).ended)
    except NotFound:
        return True


def _exit_code(run: Run) -> int:
    with Waiting() as waiting, Connection(run.address, waiting) as connection:
        return int(connection.call(TASK, "Wait", api.WaitRequest(id=run.id)).exit_status)


def _send(run: Run, signum: int, waiting: Waiting) -> None:
    if not run.address:
        raise FailedPrecondition(f"container {run.id!r} is starting: it has no process yet")
    with Connection(run.address, waiting) as connection:
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
