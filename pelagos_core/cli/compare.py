"""`pelagos compare`: runs a program on every engine and shows differences and times."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from pelagos_core.backends.installed import load_waiting
from pelagos_core.cli import comparison, completion, mistakes, module_file, progress
from pelagos_core.cli.backend_option import backend_option
from pelagos_core.cli.command import command
from pelagos_core.cli.comparison import Comparison, Outcome
from pelagos_core.cli.formats import json_option
from pelagos_core.cli.run import run as run_command
from pelagos_core.cli.table import print_table
from pelagos_core.plugin.kind import split_func

_SHOWN_LINES = 20  # of each difference
# Options of `run` that are refused in a comparison.
_UNFIT = {
    "detach": "--detach",
    "tty": "--tty",
    "watched": "--watch",
    "explain": "--explain-plan",
    "backend": "--backend",
    "name": "--name",
}
_OPTIONS = {"allow_interspersed_args": False, "ignore_unknown_options": True}


@command(context_settings=_OPTIONS)
@backend_option("Only on this backend; may be repeated.  [default: all]", multiple=True)
@click.option(
    "--runs", default=3, show_default=True, metavar="N", type=click.IntRange(0, 1000), help="Runs after the first one."
)
@click.option(
    "--timeout", default=60.0, show_default=True, metavar="SECONDS", type=click.FloatRange(0.1), help="For each run."
)
@json_option
@click.argument(
    "words",
    metavar="[OPTIONS OF RUN] MODULE [ARGS]...",
    nargs=-1,
    type=click.UNPROCESSED,
    required=True,
    shell_complete=completion.files,
)
def compare(backend: tuple[str, ...], runs: int, timeout: float, words: tuple[str, ...], *, as_json: bool) -> None:
    """Run a program on every engine, and show differences and times.

    The program is run several times on each backend by `pelagos run`, whose options may precede MODULE. So it should
    not change anything outside the container. Times are those of the whole command. The first run may compile.

    \b
    pelagos compare app.wasm --flag
    pelagos compare --runs 10 -v ./data:/data:ro tool.wasm /data/in.txt
    pelagos compare numbers.wasm#add 1 2

    Exit codes: 1 if exit codes or outputs differ, or no backend can run it.
    """
    logging.getLogger("pelagos_core").addHandler(logging.NullHandler())
    given = sys.stdin.buffer.read(comparison.MAX_BYTES) if _checked(words)["interactive"] else b""
    with progress.shown("loading the engines") as say:
        found = _compared(backend, words, given, runs, timeout, say)
    if as_json:
        click.echo(json.dumps(_as_dict(found)))
    else:
        _print(found)
    sys.exit(0 if found.agrees() else 1)


def _compared(
    names: tuple[str, ...], words: tuple[str, ...], given: bytes, runs: int, timeout: float, say: Callable[[str], None]
) -> Comparison:
    """Run the program on these backends, by default on all installed ones."""
    installed = load_waiting().backends.installed
    found = Comparison()
    for name in names or [each.name for each in installed]:
        problem = next((each.description.obstacle for each in installed if each.name == name), "")
        found.outcomes.append(
            Outcome(name, problem=problem) if problem else comparison.run(name, words, given, runs, timeout, say)
        )
    return found


def _checked(words: tuple[str, ...]) -> dict[str, Any]:
    """Parse the options of `pelagos run` in these words. Raises UsageError for an unknown or unsuitable option.

    Raises NotFound or InvalidArgument for a wrong module.
    """
    try:
        parameters = run_command.make_context("pelagos run", list(words)).params
    except click.UsageError as error:
        raise click.UsageError(mistakes.told(error), click.get_current_context()) from None
    for name, option in _UNFIT.items():
        if parameters.get(name):
            raise click.UsageError(f"{option} of `pelagos run` does not go with a comparison")
    if not os.path.isdir(parameters["target"]):
        os.close(module_file.open_module(split_func(parameters["target"])[0]))
    return parameters


def _print(found: Comparison) -> None:
    header = ["BACKEND", "EXIT", "FIRST", "LATER", "STDOUT", "STDERR", "NOTE"]
    rows = [_row(each, found) for each in found.able]
    if not any(row[-1] for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    if rows:
        print_table(header, rows)
    problems = [[each.backend, each.problem] for each in found.outcomes if each.problem]
    if problems:
        if found.able:
            click.echo()
        print_table(["BACKEND", "WHY IT HAS NOT RUN IT"], problems)
    for name, what in found.differing().items():
        other = next(each for each in found.able if each.backend == name)
        for stream in sorted({"stdout", "stderr"} & set(what)):
            click.echo()
            for line in _changes(found.able[0], other, stream):
                click.echo("".join(letter if letter.isprintable() else "?" for letter in line))
    click.echo(f"\n{_verdict(found)}")


def _changes(one: Outcome, other: Outcome, stream: str) -> Iterator[str]:
    """The lines of a stream in which two outcomes differ."""
    before, after = (getattr(each.first, stream) for each in (one, other))
    names = (f"{one.backend}: {stream}", f"{other.backend}: {stream}")
    return comparison.changed_lines(names[0], before, names[1], after, _SHOWN_LINES)


def _row(outcome: Outcome, found: Comparison) -> list[str]:
    first, reference = outcome.first, found.able[0]
    differs = outcome.differences(reference)
    marks = ["" if outcome.is_steady else "differs from run to run", f"other {', '.join(differs)}" if differs else ""]
    later = outcome.median
    return [
        outcome.backend,
        "no end" if first.code is None else str(first.code),
        _milliseconds(first.seconds),
        "-" if later is None else _milliseconds(later),
        f"{len(first.stdout)} B",
        f"{len(first.stderr)} B",
        "; ".join(filter(None, marks)),
    ]


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def _verdict(found: Comparison) -> str:
    able, differing = [each.backend for each in found.able], found.differing()
    if not able:
        return "no backend can run it"
    if len(able) == 1:
        return f"only {able[0]} has run it: there is nothing to compare"
    if not differing:
        return f"{', '.join(able)} agree"
    told = "; ".join(f"{name} in {', '.join(what)}" for name, what in differing.items())
    return f"they differ from {able[0]}: {told}"


def _as_dict(found: Comparison) -> dict[str, object]:
    differing = found.differing()
    return {"agree": found.agrees(), "backends": [_outcome(each, differing) for each in found.outcomes]}


def _outcome(outcome: Outcome, differing: dict[str, list[str]]) -> dict[str, object]:
    if outcome.problem:
        return {"name": outcome.backend, "problem": outcome.problem}
    first = outcome.first
    return {
        "name": outcome.backend,
        "exit_code": first.code,
        "first_seconds": first.seconds,
        "later_seconds": [run.seconds for run in outcome.runs[1:]],
        "stdout": first.stdout.decode("utf-8", "replace"),
        "stderr": first.stderr.decode("utf-8", "replace"),
        "steady": outcome.is_steady,
        "differs": differing.get(outcome.backend, []),
    }
