"""`pelagos backends`: the installed engines, and which of them would run a module."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path

import click

from pelagos_core.backends import ANNOTATION, Backends, Choice
from pelagos_core.bundle import Bundle
from pelagos_core.entrypoint import Entrypoint, split_func
from pelagos_core.errors import NotFound
from pelagos_core.spec import Process, Spec


@click.command()
@click.option("--explain", metavar="MODULE", help="Say which backend would run MODULE, and why.")
@click.option("--backend", metavar="NAME", default="", help="With --explain: as if a container named NAME.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def backends(explain: str | None, backend: str, as_json: bool) -> None:
    """List the installed backends and what each can run.

    Exit code 1 if no backend can be used, or none can run the module.
    """
    # What goes wrong is printed below, from `failures`; it need not be logged as well.
    logging.getLogger("pelagos_core").addHandler(logging.NullHandler())
    installed = Backends.load()
    if explain is None:
        _list(installed, as_json)
        sys.exit(0 if installed.installed else 1)
    choice, entrypoint = _explain(installed, explain, backend)
    if as_json:
        click.echo(json.dumps(_as_dict(choice, entrypoint)))
    else:
        _print_choice(choice, entrypoint)
    sys.exit(0 if choice.backend else 1)


def _list(installed: Backends, as_json: bool) -> None:
    rows = [{"name": item.name, "version": item.version, "summary": item.summary} for item in installed.installed]
    broken = [{"name": item.name, "stage": item.stage, "reason": item.reason} for item in installed.failures]
    if as_json:
        click.echo(json.dumps({"backends": rows, "failures": broken}))
        return
    if rows:
        _table(["NAME", "VERSION", "RUNS"], [list(row.values()) for row in rows])
    else:
        click.echo("no backend is installed: try `pip install pelagos-wasmtime`", err=True)
    for failure in installed.failures:
        click.echo(f"pelagos: {failure}", err=True)


def _explain(installed: Backends, module: str, wanted: str) -> tuple[Choice, Entrypoint]:
    path, func = split_func(module)
    if not Path(path).is_file():
        raise NotFound(f"module {path!r} does not exist")
    process = Process(args=(module,))
    spec = Spec(process=process, annotations={ANNOTATION: wanted} if wanted else {})
    bundle = Bundle(id="explain", namespace="pelagos", path=str(Path.cwd()), spec=spec)
    with Path(path).open("rb") as file:
        # The copy stays open for as long as the command runs.
        entrypoint = Entrypoint.of(process, path, func, os.dup(file.fileno()))
    return installed.choose(bundle, entrypoint), entrypoint


def _as_dict(choice: Choice, entrypoint: Entrypoint) -> dict[str, object]:
    return {
        "module": entrypoint.path,
        "kind": entrypoint.kind.value,
        "backend": choice.backend.name if choice.backend else None,
        "reason": choice.reason,
        "answers": {
            name: {"score": answer.score, "reason": answer.reason} for name, answer in choice.detections.items()
        },
        "failures": [
            {"name": failure.name, "stage": failure.stage, "reason": failure.reason} for failure in choice.failures
        ],
    }


def _print_choice(choice: Choice, entrypoint: Entrypoint) -> None:
    click.echo(f"{entrypoint.path}: {entrypoint.kind.value}")
    rows = [[name, str(answer.score), answer.reason] for name, answer in choice.detections.items()]
    if rows:
        _table(["BACKEND", "SCORE", "ANSWER"], rows)
    for failure in choice.failures:
        click.echo(str(failure))
    click.echo(f"chosen: {choice.backend.name if choice.backend else 'none'} ({choice.reason})")


def _table(header: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in header:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(markup=False, highlight=False).print(table)
