"""`pelagos backends`: lists the installed backends, and shows which one would run a module."""

from __future__ import annotations

import json
import logging
import sys

import click

from pelagos_core.backends.installed import load_waiting
from pelagos_core.backends.registry import Backend, Backends
from pelagos_core.backends.selection import ANNOTATION, Choice
from pelagos_core.cli import completion, module_choice, packages, progress, voice
from pelagos_core.cli.backend_option import backend_option
from pelagos_core.cli.command import command
from pelagos_core.cli.formats import json_option
from pelagos_core.cli.table import print_table
from pelagos_core.errors import InvalidArgument
from pelagos_core.plugin.entrypoint import Entrypoint
from pelagos_core.plugin.linking import shown


@command()
@click.option(
    "--explain", metavar="MODULE", shell_complete=completion.files, help="Say which backend would run MODULE, and why."
)
@backend_option("With --explain: as if a container asked for this backend.")
@click.option("--fuel", metavar="N", default="", help="With --explain: as if a container had this limit.")
@json_option
def backends(explain: str | None, backend: str, fuel: str, as_json: bool) -> None:
    """List the installed backends and what each one can do.

    \b
    pelagos backends
    pelagos backends --explain app.wasm

    Exit codes: 1 if no backend can be used, or none can run the module.
    """
    # Errors are printed below, from `failures`, so they are not logged as well.
    logging.getLogger("pelagos_core").addHandler(logging.NullHandler())
    if explain is None and (backend or fuel):
        raise click.UsageError("--backend and --fuel go with --explain")
    with progress.shown("loading the engines"):
        node = load_waiting()
    if explain is None:
        usable = _list(node.backends, as_json)
        _ = node.config  # a broken config prevents all containers: its error is the last line
        sys.exit(0 if usable else 1)
    policy = node.config.policy
    if fuel:
        policy = policy.narrowed({"fuel": fuel}, lambda key: f"--{key}")
    annotations = {ANNOTATION: backend} if backend else {}
    with progress.shown(f"asking the engines about {explain}"):
        choice, entrypoint = module_choice.choose(node, explain, annotations, policy)
    if as_json:
        click.echo(json.dumps(_as_dict(choice, entrypoint)))
    else:
        _print_choice(choice, entrypoint)
    sys.exit(0 if choice.backend else 1)


def _list(installed: Backends, as_json: bool) -> bool:
    usable = any(not backend.description.problem for backend in installed.installed)
    if as_json:
        broken = [{"name": item.name, "stage": item.stage, "reason": item.reason} for item in installed.failures]
        rows = [_described(backend) for backend in installed.installed]
        click.echo(json.dumps({"backends": rows, "failures": broken}))
        return usable
    if installed.installed:
        header = ["NAME", "PACKAGE", "ENGINE", "FORM", "RUNS", "LIMITS"]
        print_table(header, [_row(backend) for backend in installed.installed])
    else:
        voice.complain(f"no backend is installed: `{packages.adding('pelagos-wasmtime')}` adds one")
    for backend in installed.installed:
        if backend.description.problem:
            voice.complain(f"backend {backend.name!r} cannot be used: {backend.description.obstacle}")
        elif backend.native_problem:
            without = f"has no native part here, and is slower: {backend.native_problem}"
            voice.complain(f"backend {backend.name!r} {without}")
        if backend.description.lacks:
            voice.complain(f"backend {backend.name!r} lacks {backend.description.lacks}")
    for failure in installed.failures:
        voice.complain(failure)
    return usable


def _described(backend: Backend) -> dict[str, object]:
    said = backend.description
    return {
        "name": backend.name,
        "version": backend.version,
        "summary": backend.summary,
        "engine": said.engine,
        "engine_version": said.version,
        "form": said.form,
        "program": said.program,
        "lacks": said.lacks,
        "features": sorted(said.features),
        "limits": sorted(said.limits),
        "deviations": sorted(said.deviations),
        "usable": not said.problem,
        "problem": said.problem,
        "remedy": said.remedy,
        "native": backend.native is not None,
        "native_problem": backend.native_problem,
    }


def _row(backend: Backend) -> list[str]:
    said = backend.description
    engine = f"{said.engine} {said.version}".strip() or "?"
    form = "unusable" if said.problem else said.form or "?"
    if backend.native and not said.problem:
        form += ", native"
    form += f", program {said.program}" if said.program else ""
    runs = ", ".join(sorted(said.features)) or backend.summary
    return [backend.name, backend.version, engine, form, runs, ", ".join(sorted(said.limits)) or "-"]


def _imports(entrypoint: Entrypoint) -> dict[str, list[str]]:
    """The file's imports: names by module; a component's imports have an empty module."""
    found: dict[str, list[str]] = {}
    try:
        for item in entrypoint.interface.imports:
            found.setdefault(item.module, []).append(item.name)
    except InvalidArgument as error:
        voice.complain(error)
    return found


def _as_dict(choice: Choice, entrypoint: Entrypoint) -> dict[str, object]:
    return {
        "module": entrypoint.path,
        "kind": entrypoint.kind.value,
        "imports": _imports(entrypoint),
        "backend": choice.backend.name if choice.backend else None,
        "reason": choice.reason,
        "answers": {
            name: {"score": answer.score, "reason": answer.reason, "kept": answer.kept}
            for name, answer in choice.detections.items()
        },
        "failures": [
            {"name": failure.name, "stage": failure.stage, "reason": failure.reason} for failure in choice.failures
        ],
    }


def _print_choice(choice: Choice, entrypoint: Entrypoint) -> None:
    click.echo(f"{entrypoint.path}: {entrypoint.kind.value}")
    for module, names in _imports(entrypoint).items():
        click.echo(f"imports from {shown(module)}:" if module else "imports:")
        click.echo(click.wrap_text(" ".join(map(shown, sorted(names))), 96, "    ", "    "))
    rows = [[name, str(answer.score), answer.reason] for name, answer in choice.detections.items()]
    if rows:
        print_table(["BACKEND", "SCORE", "ANSWER"], rows)
    for failure in choice.failures:
        click.echo(str(failure))
    click.echo(f"chosen: {choice.backend.name if choice.backend else 'none'} ({choice.reason})")
