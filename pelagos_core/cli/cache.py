"""`pelagos cache`: the compiled code that is kept on this node."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import sys
import time
from dataclasses import replace
from pathlib import Path

import click

from pelagos_core.backends.installed import Node, load_waiting
from pelagos_core.backends.selection import ANNOTATION, Selection
from pelagos_core.cache import compile_service, key
from pelagos_core.cache.compile_request import CompileRequest
from pelagos_core.cache.store import Listed, Store
from pelagos_core.cli import rootless
from pelagos_core.cli.backend_option import asked_for
from pelagos_core.cli.progress import STEP_SECONDS, Progress
from pelagos_core.cli.table import print_table
from pelagos_core.config import duration, node_file, size
from pelagos_core.config.policy import Policy
from pelagos_core.errors import InvalidArgument, NotFound, PelagosError, Unimplemented
from pelagos_core.oci import Process, Spec
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.entrypoint import CODE, Entrypoint, split_func
from pelagos_core.plugin.limits import Limits

_RETRY_SECONDS = 0.005
_SHORT = 12  # characters of a digest, as docker prints them

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def cache() -> None:
    """Manage the compiled code that is kept on this node.

    A module is compiled when a container first starts with it, and its code is used again by
    every other one. Where it is kept, and how much of it, is said in /etc/pelagos/config.toml.
    """


@cache.command()
@_json
def ls(as_json: bool) -> None:
    """List what is kept, the most recently used first."""
    with _store() as store:
        entries = sorted(store.entries(), key=lambda entry: -entry.used)
    if as_json:
        click.echo(json.dumps({"directory": store.path, "entries": [_as_dict(entry) for entry in entries]}))
        return
    now = time.time()
    print_table(["MODULE", "PATH", "BACKEND", "ENGINE", "SIZE", "USED"], [_row(entry, now) for entry in entries])


@cache.command()
@click.option("--backend", metavar="NAME", default="", help="Compile for this one, not for the one Auto takes.")
@click.option("--fuel", is_flag=True, help="Compile for containers that have a limit of fuel.")
@_json
@click.argument("modules", metavar="MODULE...", nargs=-1, required=True)
def warm(backend: str, fuel: bool, as_json: bool, modules: tuple[str, ...]) -> None:
    """Compile modules now, so that no container has to wait for it.

    Exit code 1 if one of them could not be compiled.
    """
    logging.getLogger("pelagos_core").setLevel(logging.ERROR)
    node = load_waiting()
    rootless.enter()
    annotations = {ANNOTATION: backend} if backend else {}
    policy = node.config.policy
    policy = replace(policy, fuel=policy.fuel or (1 if fuel else None))
    rows = []
    for module in modules:
        try:
            rows.append({"module": module, **_warmed(node, module, annotations, policy)})
        except PelagosError as error:
            rows.append({"module": module, "error": str(error)})
        if not as_json:
            _tell(rows[-1])
    if as_json:
        click.echo(json.dumps(rows))
    sys.exit(1 if any("error" in row for row in rows) else 0)


@cache.command()
@click.option("--all", "everything", is_flag=True, help="Remove everything.")
@click.option("--older-than", "older", metavar="AGE", default="", help="Remove what was not used for 12h, 30d, …")
@click.option("--size", "limit", metavar="SIZE", default="", help="Keep no more than this, such as 500m or 2g.")
@_json
def prune(everything: bool, older: str, limit: str, as_json: bool) -> None:
    """Remove what is not used any more.

    Without options: what this node's engines and processor cannot use, and what is beyond the
    configured size. Containers that run go on.
    """
    settings = node_file.load_node().cache
    oldest = time.time() - duration.parse(older) if older else 0.0
    bound = 0 if everything else size.parse(limit) if limit else settings.size
    usable = _engines()
    with _store() as store:
        removed = store.prune(bound, lambda entry: entry.used < oldest or not _is_usable(entry, usable))
    freed = sum(entry.disk_bytes for entry in removed)
    if as_json:
        click.echo(json.dumps({"removed": [_as_dict(entry) for entry in removed], "freed": freed}))
        return
    for entry in removed:
        click.echo(f"removed {entry.about.key.module[:_SHORT]} {entry.about.path!r}")
    click.echo(f"freed {size.describe(freed)}")


def _store() -> Store:
    path = node_file.load_node().cache.directory
    try:
        return Store(path)
    except OSError as error:
        raise NotFound(f"cache {path!r}: {error.strerror}") from None


def _engines() -> set[tuple[str, str]]:
    """The backends and engines whose code can be used here."""
    node = load_waiting()
    said = ((backend, backend.description) for backend in node.backends.installed)
    return {(f"{backend.name} {backend.version}", f"{it.engine} {it.version}".strip()) for backend, it in said}


def _is_usable(entry: Listed, engines: set[tuple[str, str]]) -> bool:
    made = entry.about.key
    return (made.backend, made.engine) in engines and made.cpu == key.cpu()


def _warmed(node: Node, module: str, annotations: dict[str, str], policy: Policy) -> dict[str, object]:
    """Have one module compiled, for `path#function` too. Raises PelagosError."""
    path, func = split_func(module)
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise NotFound(f"module {path!r}: {error.strerror}") from None
    try:
        if not Path(path).is_file():
            raise InvalidArgument(f"module {path!r} is not a regular file")
        return _compiled(_request(node, path, func, file, annotations, policy))
    finally:
        os.close(file)


def _request(
    node: Node, module: str, func: str, file: int, annotations: dict[str, str], policy: Policy
) -> CompileRequest:
    process = Process(args=(f"/{Path(module).name}",))
    spec = Spec(process=process, annotations=annotations)
    entrypoint = Entrypoint.of(process, process.args[0], func, file, Limits.of(spec, policy))
    bundle = Bundle(id="warm", namespace="pelagos", path=str(Path.cwd()), spec=spec, policy=policy)
    selection = Selection(node.backends, asked_for(annotations, node.config))
    choice = selection.choose(bundle, entrypoint)
    if choice.backend is None:
        raise selection.refusal(entrypoint, choice)
    settings = choice.backend.code_key(entrypoint) if choice.backend.compiles else None
    if settings is None:
        raise Unimplemented(f"module {module!r}: backend {choice.backend.name!r} compiles nothing ahead of time")
    limits, cache = entrypoint.limits, node.config.cache
    return CompileRequest(choice.backend, entrypoint.path, settings, file, limits, cache, policy.confines_engines)


def _compiled(request: CompileRequest) -> dict[str, object]:
    began = time.monotonic()
    cgroup = compile_service.make_group(request)
    made = compile_service.fork(request, cgroup)
    try:
        with contextlib.closing(Progress(f"compiling {request.path} for {request.backend.name}")) as progress:
            while not select.select([made.socket], [], [], STEP_SECONDS)[0]:
                progress.tick()
        code, how = made.answer()
        length = os.stat(CODE, dir_fd=code).st_size
        os.close(code)
    finally:
        made.close()
        while not cgroup.try_remove():
            time.sleep(_RETRY_SECONDS)
    seconds = round(time.monotonic() - began, 3)
    return {"backend": request.backend.name, "outcome": how, "size": length, "seconds": seconds}


def _tell(row: dict[str, object]) -> None:
    if "error" in row:
        click.echo(f"pelagos: {row['error']}", err=True)
        return
    length = size.describe(int(str(row["size"])))
    click.echo(f"{row['module']}: {row['outcome']}, {row['backend']}, {length}, {row['seconds']:.1f} s")


def _row(entry: Listed, now: float) -> list[str]:
    made = entry.about.key
    engine = f"{made.engine} ({made.settings})" if made.settings else made.engine
    used = f"{duration.describe(now - entry.used)} ago"
    # The path is the image's word: as a literal it can do nothing to a terminal.
    path = ascii(entry.about.path)[1:-1]
    return [made.module[:_SHORT], path, made.backend, engine, size.describe(entry.disk_bytes), used]


def _as_dict(entry: Listed) -> dict[str, object]:
    about = entry.about
    return {
        "key": entry.name,
        "module": about.key.module,
        "path": about.path,
        "backend": about.key.backend,
        "engine": about.key.engine,
        "settings": about.key.settings,
        "cpu": about.key.cpu,
        "size": about.size,
        "sha256": about.sha256,
        "created": about.created,
        "used": entry.used,
    }
