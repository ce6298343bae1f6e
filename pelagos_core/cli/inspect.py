"""`pelagos inspect`: describes a module and the backends that can run it, or a container."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from dataclasses import asdict

import click

from pelagos_core.backends.installed import load_waiting
from pelagos_core.cli import completion, module_choice, progress, ps
from pelagos_core.cli.command import command
from pelagos_core.cli.formats import json_option
from pelagos_core.cli.inspection import Inspection, Item
from pelagos_core.cli.table import print_table
from pelagos_core.config import size
from pelagos_core.daemon import runs
from pelagos_core.daemon.runs import Run
from pelagos_core.errors import NotFound
from pelagos_core.plugin.kind import split_func
from pelagos_core.plugin.proposals import Memory


@command()
@json_option
@click.argument("module", metavar="MODULE[#FUNCTION]|CONTAINER", shell_complete=completion.files_and_containers)
def inspect(module: str, *, as_json: bool) -> None:
    """Show what a module is and which engines can run it, or what a container is.

    For a module, it prints the world, imports, exports with their types, memory and proposals, which backend would run
    it (or its function), and why others cannot. It runs no guest code. The proposals are read from the module's
    sections, and from the list of features that its tool chain has added.

    \b
    pelagos inspect app.wasm
    pelagos inspect app.wasm#add
    pelagos inspect web

    For a container of `pelagos run`, given by name or id, it prints JSON: its record and state, and its config.json
    while it runs.

    Exit codes: 1 if there is no such module or container, or no backend can run it.
    """
    if not os.path.exists(split_func(module)[0]):
        click.echo(json.dumps(_described(_container(module)), indent=2))
        return
    logging.getLogger("pelagos_core").addHandler(logging.NullHandler())  # errors are printed below
    with progress.shown("loading the engines") as say:
        node = load_waiting()
        say(f"asking the engines about {module}")
        choice, entrypoint = module_choice.choose(node, module, {}, node.config.policy)
        found = Inspection.of(entrypoint, choice)
    if as_json:
        click.echo(json.dumps(asdict(found)))
    else:
        _print(found)
    sys.exit(0 if found.chosen else 1)


def _container(name: str) -> Run:
    try:
        return runs.find(os.geteuid(), name, ended=True)
    except NotFound:
        raise NotFound(f"{name!r} is neither a file nor a container: `pelagos ps -a` lists yours") from None


def _described(run: Run) -> dict[str, object]:
    (row,) = ps.described([run])
    path = os.path.join(runs.directory_of(os.geteuid(), run), "bundle", "config.json")
    with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:  # it has ended
        row["config"] = json.load(file)
    return row


def _print(found: Inspection) -> None:
    print_table(["MODULE", found.path], _facts(found))
    if found.imports:
        click.echo()
        _print_items(f"IMPORT ({len(found.imports)})", found.imports)
    if found.exports:
        click.echo()
        _print_items(f"EXPORT ({len(found.exports)})", found.exports)
    if found.answers:
        click.echo()
        rows = [[each.backend, "yes" if each.can else "no", each.reason] for each in found.answers]
        print_table(["BACKEND", "RUNS IT", "WHY"], rows)
    click.echo(f"\n{found.chosen} would run it: {found.reason}" if found.chosen else f"\n{found.reason}")


def _facts(found: Inspection) -> list[list[str]]:
    rows = [
        ["size", size.describe(found.size)],
        ["sha256", found.digest],
        ["kind", f"{found.kind}, {found.role}" if found.role else found.kind],
    ]
    if found.worlds:
        rows.append(["world", ", ".join(found.worlds)])
    if found.memories is not None:
        rows.append(["memory", "; ".join(map(_memory, found.memories)) or "none of its own"])
    if found.proposals is not None:
        rows.append(["proposals", ", ".join(found.proposals) or "none"])
    return rows + ([["problem", found.problem]] if found.problem else [])


def _memory(memory: Memory) -> str:
    most = "no maximum" if memory.maximum is None else f"{size.describe(memory.maximum)} at most"
    words = [f"{size.describe(memory.minimum)} at first", most]
    return ", ".join([*words, *(["shared"] if memory.is_shared else []), *(["64 bits"] if memory.is_64 else [])])


def _print_items(title: str, items: tuple[Item, ...]) -> None:
    has_modules, has_types = any(item.module for item in items), any(item.type for item in items)
    header = [*(["FROM"] if has_modules else []), title, "KIND", *(["TYPE"] if has_types else [])]
    print_table(header, [_row(item, has_modules=has_modules, has_types=has_types) for item in items])


def _row(item: Item, *, has_modules: bool, has_types: bool) -> list[str]:
    return [*([item.module] if has_modules else []), item.name, item.kind, *([item.type] if has_types else [])]
