"""`pelagos inspect`: what a module is, asks for and offers, and which backends can run it."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict

import click

from pelagos_core.backends.installed import load_waiting
from pelagos_core.cli import completion, module_choice
from pelagos_core.cli.inspection import Inspection, Item
from pelagos_core.cli.table import print_table
from pelagos_core.config import size
from pelagos_core.plugin.proposals import Memory


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("module", metavar="MODULE[#FUNCTION]", shell_complete=completion.files)
def inspect(module: str, *, as_json: bool) -> None:
    """Say what a module is: its world, imports, exports with their types, memory and proposals.

    It says which backend would run it, or this function of it, and why others cannot. Nothing is run. Proposals are
    those of which its sections tell, and the features with which its tool chain has compiled.

    \b
    pelagos inspect app.wasm
    pelagos inspect app.wasm#add

    Exit code 1 if no backend can run it.
    """
    logging.getLogger("pelagos_core").addHandler(logging.NullHandler())  # what goes wrong is printed below
    node = load_waiting()
    choice, entrypoint = module_choice.choose(node, module, {}, node.config.policy)
    found = Inspection.of(entrypoint, choice)
    if as_json:
        click.echo(json.dumps(asdict(found)))
    else:
        _print(found)
    sys.exit(0 if found.chosen else 1)


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
    most = "no maximum" if memory.maximum is None else f"{size.describe(memory.maximum)} at the most"
    words = [f"{size.describe(memory.minimum)} at first", most]
    return ", ".join([*words, *(["shared"] if memory.is_shared else []), *(["64 bits"] if memory.is_64 else [])])


def _print_items(title: str, items: tuple[Item, ...]) -> None:
    has_modules, has_types = any(item.module for item in items), any(item.type for item in items)
    header = [*(["FROM"] if has_modules else []), title, "KIND", *(["TYPE"] if has_types else [])]
    print_table(header, [_row(item, has_modules=has_modules, has_types=has_types) for item in items])


def _row(item: Item, *, has_modules: bool, has_types: bool) -> list[str]:
    return [*([item.module] if has_modules else []), item.name, item.kind, *([item.type] if has_types else [])]
