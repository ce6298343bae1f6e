"""`pelagos cache`: lists, fills and prunes the compiled code and the records of modules on this node."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click

from pelagos_core.backends.installed import Node, load_waiting
from pelagos_core.backends.registry import Backends
from pelagos_core.backends.selection import ANNOTATION, Selection
from pelagos_core.cache import compile_service, key
from pelagos_core.cache.compile_request import CompileRequest
from pelagos_core.cache.known_store import KnownEntry, KnownStore
from pelagos_core.cache.store import Listed, Store
from pelagos_core.cli import completion, formats, mistakes, progress, rootless, voice
from pelagos_core.cli.backend_option import asked_for, backend_option
from pelagos_core.cli.command import group
from pelagos_core.cli.formats import json_option
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


@group()
def cache() -> None:
    """Manage the compiled code that is cached on this node.

    A module is compiled when a container first starts with it. All other containers use the same
    code. The directory and size of the cache are set in /etc/pelagos/config.toml. The cache also
    contains records with the backends' answers about modules, so that they need not be called again.
    """


@cache.command()
@formats.whole
@json_option
def ls(whole: bool, as_json: bool) -> None:
    """List the cache's entries, the most recently used first.

    The first table lists compiled code, the second one the records of modules. MODULE is the beginning of the
    module's digest; --no-trunc prints all of it.

    \b
    pelagos cache ls
    pelagos cache ls --format json
    """
    with _store() as store:
        entries = sorted(store.entries(), key=lambda entry: -entry.used)
    with _known_store(store) as known_store:
        known = sorted(known_store.entries(), key=lambda entry: -entry.used) if known_store else []
    if as_json:
        both = {"entries": [_as_dict(entry) for entry in entries], "known": [_known_as_dict(entry) for entry in known]}
        click.echo(json.dumps({"directory": store.path, **both}))
        return
    now = time.time()
    digits = None if whole else _SHORT
    rows = [[each.about.key.module[:digits], *_cells(each, now)] for each in entries]
    print_table(["MODULE", "PATH", "BACKEND", "ENGINE", "SIZE", "USED"], rows, is_whole=whole)
    if known:
        click.echo()
        rows = [[each.key.module[:digits], *_known_cells(each, now)] for each in known]
        print_table(["MODULE", "FUNCTION", "KNOWN", "SIZE", "USED"], rows, is_whole=whole)


@cache.command()
@backend_option("The backend to compile for.  [default: auto, the best]")
@click.option("--fuel", is_flag=True, help="Compile for containers that have a limit of fuel.")
@json_option
@click.argument("modules", metavar="MODULE...", nargs=-1, required=True, shell_complete=completion.files)
def warm(backend: str, fuel: bool, as_json: bool, modules: tuple[str, ...]) -> None:
    """Compile modules now, so that no container must wait for the compilation.

    \b
    pelagos cache warm app.wasm
    pelagos cache warm --fuel app.wasm tools/*.wasm

    Exit codes: 1 if a module could not be compiled; the others are compiled nevertheless.
    """
    logging.getLogger("pelagos_core").setLevel(logging.ERROR)
    with progress.shown("loading the engines"):
        node = load_waiting()
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
@click.option("--size", "limit", metavar="SIZE", default="", help="Keep no more code than this, such as 500m or 2g.")
@json_option
def prune(everything: bool, older: str, limit: str, as_json: bool) -> None:
    """Remove unused entries.

    Without options, it removes code that this node's engines and processor cannot use, and the oldest
    entries beyond the configured size. Running containers are not affected.

    \b
    pelagos cache prune
    pelagos cache prune --older-than 30d
    pelagos cache prune --all
    """
    settings = node_file.load_node().cache
    with mistakes.in_option("--older-than"):
        oldest = time.time() - duration.parse(older) if older else 0.0
    with mistakes.in_option("--size"):
        bound = 0 if everything else size.parse(limit) if limit else settings.size
    with progress.shown("loading the engines"):
        backends = load_waiting().backends
    usable = _engines(backends)

    def is_useless(entry: KnownEntry) -> bool:
        return everything or entry.used < oldest or not entry.key.is_of(backends)

    with _store() as store:
        removed = store.prune(bound, lambda entry: entry.used < oldest or not _is_usable(entry, usable))
    with _known_store(store) as known_store:
        forgotten = known_store.prune(is_useless) if known_store else []
    freed = sum(entry.disk_bytes for entry in removed) + sum(each.disk_bytes for each in forgotten)
    if as_json:
        known = [_known_as_dict(each) for each in forgotten]
        click.echo(json.dumps({"removed": [_as_dict(entry) for entry in removed], "known": known, "freed": freed}))
        return
    for entry in removed:
        click.echo(f"removed {entry.about.key.module[:_SHORT]} {entry.about.path!r}")
    for each in forgotten:
        click.echo(f"removed {each.key.module[:_SHORT]}, what is known of it")
    click.echo(f"freed {size.describe(freed)}")


def _store() -> Store:
    path = node_file.load_node().cache.directory
    try:
        return Store(path)
    except OSError as error:
        raise NotFound(f"cache {path!r}: {error.strerror}") from None


@contextlib.contextmanager
def _known_store(store: Store) -> Iterator[KnownStore | None]:
    """The records of modules in the store; None if there are none, or they cannot be used."""
    try:
        known = KnownStore(store.path)
    except OSError:
        yield None
        return
    with known:
        yield known


def _engines(backends: Backends) -> set[tuple[str, str]]:
    """The backends and engines of this node, whose code can be used."""
    said = ((backend, backend.description) for backend in backends.installed)
    return {(f"{backend.name} {backend.version}", f"{it.engine} {it.version}".strip()) for backend, it in said}


def _is_usable(entry: Listed, engines: set[tuple[str, str]]) -> bool:
    made = entry.about.key
    return (made.backend, made.engine) in engines and made.cpu == key.cpu()


def _warmed(node: Node, module: str, annotations: dict[str, str], policy: Policy) -> dict[str, object]:
    """Compile one module, given as path or `path#function`, and describe the result. Raises PelagosError."""
    path, func = split_func(module)
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise NotFound(f"module {path!r}: {error.strerror}") from None
    try:
        if not Path(path).is_file():
            raise InvalidArgument(f"module {path!r} is not a regular file")
        rootless.enter()  # the first module's engine has started no thread yet
        return _compiled(_request(node, path, func, file, annotations, policy))
    finally:
        os.close(file)


def _request(
    node: Node, module: str, func: str, file: int, annotations: dict[str, str], policy: Policy
) -> CompileRequest:
    process = Process(args=(f"/{Path(module).name}",))
    spec = Spec(process=process, annotations=annotations)
    entrypoint = Entrypoint.of(process, process.args[0], func, file, Limits.of(spec, policy))
    entrypoint = replace(entrypoint, network=policy.network)
    bundle = Bundle(id="warm", namespace="pelagos", path=str(Path.cwd()), spec=spec, policy=policy)
    selection = Selection(node.backends, asked_for(annotations, node.config))
    choice = selection.choose(bundle, entrypoint)
    if choice.backend is None:
        raise selection.refusal(entrypoint, choice)
    settings = choice.backend.code_key(entrypoint) if choice.backend.compiles else None
    if settings is None:
        raise Unimplemented(f"module {module!r}: backend {choice.backend.name!r} compiles nothing ahead of time")
    limits, cache = entrypoint.limits, node.config.cache
    confined, network = policy.confines_engines, policy.network
    return CompileRequest(choice.backend, entrypoint.path, settings, file, limits, cache, confined, network)


def _compiled(request: CompileRequest) -> dict[str, object]:
    began = time.monotonic()
    cgroup = compile_service.make_group(request.cache)
    made = compile_service.fork(request, cgroup)
    try:
        with progress.shown(f"compiling {request.path} for {request.backend.name}"):
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
        voice.complain(row["error"])
        return
    length = size.describe(int(str(row["size"])))
    click.echo(f"{row['module']}: {row['outcome']}, {row['backend']}, {length}, {row['seconds']:.1f} s")


def _cells(entry: Listed, now: float) -> list[str]:
    made = entry.about.key
    engine = f"{made.engine} ({made.settings})" if made.settings else made.engine
    used = f"{duration.describe(now - entry.used)} ago"
    # An image has chosen the path: it is escaped, so that it cannot send control sequences to a terminal.
    path = ascii(entry.about.path)[1:-1]
    return [path, made.backend, engine, size.describe(entry.disk_bytes), used]


def _known_cells(entry: KnownEntry, now: float) -> list[str]:
    said = sorted(entry.known.detections.items(), key=lambda item: -item[1].score)
    answers = ", ".join(f"{name} {answer.score}" for name, answer in said)
    # The function's name is untrusted too.
    func = ascii(entry.key.func)[1:-1] or "-"
    used = f"{duration.describe(now - entry.used)} ago"
    return [func, answers, size.describe(entry.disk_bytes), used]


def _known_as_dict(entry: KnownEntry) -> dict[str, object]:
    return {
        "key": entry.name,
        "module": entry.key.module,
        "function": entry.key.func,
        "limits": entry.key.limits,
        "readonly": entry.key.readonly,
        "answers": {
            name: {"score": answer.score, "reason": answer.reason} for name, answer in entry.known.detections.items()
        },
        "size": entry.disk_bytes,
        "used": entry.used,
    }


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
