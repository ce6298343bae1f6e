"""`pelagos kill`, `stop`, `wait` and `rm`: end, await and remove containers of this user's `pelagos run`."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable

import click

from pelagos_core.api import task_pb2 as api
from pelagos_core.cli import completion, exit_codes, voice
from pelagos_core.cli.command import command
from pelagos_core.cli.connection import TASK, Connection
from pelagos_core.cli.progress import Progress
from pelagos_core.cli.waiting import Waiting
from pelagos_core.daemon import runs
from pelagos_core.daemon.runs import Run
from pelagos_core.errors import FailedPrecondition, NotFound, PelagosError, Unavailable

_SECONDS = 2.0  # for a daemon to answer; a stopped daemon does not
_END_SECONDS = 10.0  # after SIGKILL, for a daemon to remove the container
_LOOK_SECONDS = 0.02  # between two checks for a record that a daemon is about to write

_ids = click.argument("ids", metavar="CONTAINER...", nargs=-1, required=True, shell_complete=completion.containers)


@command()
@click.option(
    "-s",
    "--signal",
    "name",
    default="KILL",
    metavar="SIGNAL",
    shell_complete=completion.signals,
    help="A name or number.  [default: KILL]",
)
@_ids
def kill(name: str, ids: tuple[str, ...]) -> None:
    """Send a signal to containers of your `pelagos run` commands.

    CONTAINER is a name, an id that `pelagos ps` lists, or the beginning of an id. Prints the ids of the containers
    that the signal was sent to.

    \b
    pelagos kill web
    pelagos kill -s USR1 web worker

    Exit codes: 1 if it could not be sent to one of them.
    """
    signum = _number(name)

    def send(word: str) -> None:
        run = _present(word)
        with Waiting() as waiting, _connected(run, waiting) as connection:
            _send(run, signum, connection, waiting)
        click.echo(run.id)

    _each(ids, send)


@command()
@click.option(
    "-t",
    "--time",
    "seconds",
    type=click.FloatRange(0),
    metavar="SECONDS",
    default=10.0,
    help="Until SIGKILL.  [default: 10]",
)
@click.option(
    "-s",
    "--signal",
    "name",
    default="TERM",
    metavar="SIGNAL",
    shell_complete=completion.signals,
    help="The first signal.  [default: TERM]",
)
@_ids
def stop(seconds: float, name: str, ids: tuple[str, ...]) -> None:
    """Stop containers: send SIGTERM, and after some time SIGKILL.

    Waits until they have ended, and prints their ids. A container that has ended already is not an error.

    \b
    pelagos stop web
    pelagos stop -t 60 web worker

    Exit codes: 1 if one does not exist, or does not end.
    """
    signum = _number(name)

    def end(word: str) -> None:
        run = runs.find(os.geteuid(), word, ended=True)
        if not run.ended:
            _stop(run, signum, seconds)
        click.echo(run.id)

    _each(ids, end)


@command()
@_ids
def wait(ids: tuple[str, ...]) -> None:
    """Wait until containers have ended, and print their exit codes.

    \b
    code=$(pelagos wait job)

    Exit codes: 1 if one does not exist; those of the containers are printed.
    """

    def look(word: str) -> None:
        run = runs.find(os.geteuid(), word, ended=True)
        click.echo(run.exit_code if run.ended else _exit_code(run))

    _each(ids, look)


@command()
@click.option("-f", "--force", is_flag=True, help="Kill it first, if it is running.")
@_ids
def rm(force: bool, ids: tuple[str, ...]) -> None:
    """Remove detached containers that have ended, with their output.

    \b
    pelagos rm job
    pelagos rm -f $(pelagos ps -aq)

    Exit codes: 1 if one does not exist, or is running and --force is not given.
    """

    def remove(word: str) -> None:
        run = runs.find(os.geteuid(), word, ended=True)
        if not run.ended:
            if not force:
                raise FailedPrecondition(f"container {run.id!r} is running: `pelagos stop` it first, or use --force")
            _stop(run, signal.SIGKILL, 0)
        try:
            runs.remove(runs.directory_of(os.geteuid(), run))
        except NotFound:  # it was started with --rm, and has ended
            pass
        click.echo(run.id)

    _each(ids, remove)


def _each(words: tuple[str, ...], act: Callable[[str], None]) -> None:
    """Call `act` for each word. An error is printed, and the other words are still processed."""
    code = exit_codes.OK
    for word in words:
        try:
            act(word)
        except PelagosError as error:
            voice.complain(error)
            code = exit_codes.FAULT
    raise SystemExit(code)


def _present(word: str) -> Run:
    try:
        return runs.find(os.geteuid(), word)
    except NotFound:
        ended = runs.find(os.geteuid(), word, ended=True)
        raise FailedPrecondition(f"container {ended.id!r} has ended") from None


def _stop(run: Run, signum: int, seconds: float) -> None:
    """Send a signal, then SIGKILL; return when no process of the container runs. Raises FailedPrecondition."""
    name = run.name or run.id
    with Waiting() as waiting, contextlib.closing(Progress(f"stopping {name}").keep_up(waiting)) as progress:
        with contextlib.suppress(NotFound, Unavailable), _connected(run, waiting) as connection:  # it may have ended
            ended = connection.send(TASK, "Wait", api.WaitRequest(id=run.id))
            if seconds:
                progress.doing = f"stopping {name}: SIGKILL comes after {seconds:g} s"
                _send(run, signum, connection, waiting)
                waiting.until(lambda: ended.has_come, seconds)
            if not ended.has_come:
                progress.doing = f"killing {name}"
                _send(run, signal.SIGKILL, connection, waiting)
                waiting.until(lambda: ended.has_come, _END_SECONDS)
        _wait_until_over(run, waiting)


def _wait_until_over(run: Run, waiting: Waiting) -> None:
    end = time.monotonic() + _END_SECONDS
    while not _is_over(run):
        if time.monotonic() > end:
            raise FailedPrecondition(f"container {run.id!r}: its shim does not end: `pelagos doctor` looks for it")
        waiting.until(lambda: False, _LOOK_SECONDS)


def _is_over(run: Run) -> bool:
    """Whether its daemon has recorded its end, or removed it."""
    try:
        return bool(runs.find(os.geteuid(), run.id, ended=True).ended)
    except NotFound:
        return True


def _exit_code(run: Run) -> int:
    with Waiting() as waiting, contextlib.closing(Progress(f"waiting for the end of {run.name or run.id}")) as progress:
        progress.keep_up(waiting)
        try:
            with _connected(run, waiting) as connection:
                return int(connection.call(TASK, "Wait", api.WaitRequest(id=run.id)).exit_status)
        except Unavailable:  # it has just ended; if it is not removed, its end is recorded
            _wait_until_over(run, waiting)
            return int(runs.find(os.geteuid(), run.id, ended=True).exit_code)


def _connected(run: Run, waiting: Waiting) -> Connection:
    """Connect to the run's daemon. Raises FailedPrecondition if it is still starting, Unavailable if it has ended."""
    if not run.address:
        raise FailedPrecondition(f"container {run.id!r} is starting and has no process yet: try again")
    return Connection(run.address, waiting)


def _send(run: Run, signum: int, connection: Connection, waiting: Waiting) -> None:
    """Make the daemon send a signal. Raises FailedPrecondition if it does not answer, or as `Answer.message`."""
    answer = connection.send(TASK, "Kill", api.KillRequest(id=run.id, signal=signum), _SECONDS)
    if not waiting.until(lambda: answer.has_come, _SECONDS):
        raise FailedPrecondition(f"container {run.id!r}: its shim does not answer: `pelagos doctor` looks for it")
    answer.message()


def _number(name: str) -> int:
    if name.isascii() and name.isdecimal() and int(name) in signal.valid_signals():
        return int(name)
    try:
        return signal.Signals[f"SIG{name.upper().removeprefix('SIG')}"]
    except KeyError:
        raise click.BadParameter(f"{name!r} is not a signal such as TERM or 15", param_hint="--signal") from None
