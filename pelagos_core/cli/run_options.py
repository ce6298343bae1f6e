"""Converts the options of `pelagos run` to a container."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

import click

from pelagos_core.cli import mistakes, module_file, mount_option, pairs
from pelagos_core.cli.embedded import Container
from pelagos_core.config import duration, size
from pelagos_core.daemon import runs
from pelagos_core.errors import FailedPrecondition
from pelagos_core.plugin.kind import split_func

if TYPE_CHECKING:
    from pelagos_core.cli.ports import Port

STDIN = "-"
_STDIN_NAME = "stdin.wasm"
_PERIOD_MICROSECONDS = 100_000
_LEAST_CPUS = 0.01  # the kernel's shortest quota is a millisecond
# docker's limit. With less, even the engine of an empty module is killed before it can report an error.
_LEAST_MEMORY = 6 << 20
_MOST_ID = (1 << 32) - 2  # -1 is no id in chown(2) and setuid(2)
# docker's rule: a name becomes part of paths and command lines.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
# RFC 1123, section 2.1: letters, digits, hyphens; 63 bytes per label; sethostname(2) accepts 64 in total.
_HOSTNAME = re.compile(
    r"(?=.{1,64}\Z)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)


class Options(NamedTuple):
    """The options of the command line, with the names of click's parameters."""

    env: tuple[str, ...]
    env_files: tuple[str, ...]
    backend: str
    mounts: tuple[str, ...]
    volumes: tuple[str, ...]
    directories: tuple[str, ...]
    tmpfs: tuple[str, ...]
    workdir: str
    user: str
    hostname: str
    ports: tuple[str, ...]
    network: str
    name: str
    memory: str
    cpus: float | None
    cpuset: str
    pids: int | None
    fuel: int | None
    deadline: str
    annotations: tuple[str, ...]
    detach: bool
    removed: bool
    watched: bool
    interactive: bool
    tty: bool
    read_only: bool
    explain: bool


def container(options: Options, target: str, args: tuple[str, ...]) -> Container:
    """The container to run. Raises BadParameter or UsageError; PelagosError or OSError for files."""
    if options.interactive and target == STDIN:
        raise click.UsageError("standard input is the module: it cannot be the program's too (-i)")
    program = _program(target, args)
    return Container(
        *program,
        env=(*pairs.of_files(options.env_files), *pairs.variables(options.env)),
        cwd=mount_option.absolute(options.workdir, "--workdir"),
        mounts=(
            *map(mount_option.mount, options.mounts),
            *map(mount_option.volume, options.volumes),
            *map(mount_option.directory, options.directories),
            *map(mount_option.tmpfs, options.tmpfs),
        ),
        annotations=_annotations(options),
        resources=_resources(options),
        memory=_bytes(options.memory),
        terminal=options.tty,
        user=_user(options.user),
        hostname=_matched(_HOSTNAME, options.hostname, "--hostname", "a host's name"),
        readonly=options.read_only,
        ports=_ports(options.ports),
        has_host_network=_has_host_network(options, is_module=program[1] is not None),
    )


def record(options: Options, command: tuple[str, ...]) -> runs.Run:
    """The record of the run. command: the typed command line. Raises BadParameter or UsageError."""
    if options.detach and (options.interactive or options.tty):
        raise click.UsageError(
            "-d cannot be combined with -i or -t: there is nothing that a terminal could be joined to"
        )
    name = _matched(_NAME, options.name, "--name", "a name of letters, digits, '_', '.' and '-'")
    return runs.new(command, name=name, is_detached=options.detach, is_removed=options.removed or not options.detach)


def watched_file(options: Options, target: str, args: tuple[str, ...]) -> str:
    """The path of the file that --watch watches. Raises UsageError."""
    if options.detach or target == STDIN:
        raise click.UsageError(
            f"--watch cannot be combined with {'-d' if options.detach else 'a module on standard input'}"
        )
    return os.path.join(target, args[0].lstrip("/")) if os.path.isdir(target) else split_func(target)[0]


def _program(target: str, args: tuple[str, ...]) -> tuple[str | None, tuple[int, str] | None, tuple[str, ...]]:
    """The rootfs or the module to run, and argv."""
    if os.path.isdir(target):
        if not args:
            raise click.UsageError(f"{target} is a directory: name the module in it, e.g. /app.wasm")
        return os.path.realpath(target), None, args
    path, func = split_func(target)
    if path == STDIN:
        file, name = module_file.read_stream(0), _STDIN_NAME
    else:
        file, name = module_file.open_module(path), os.path.basename(path)
    return None, (file, name), (f"/{name}#{func}" if func else f"/{name}", *args)


def _annotations(options: Options) -> dict[str, str]:
    found = pairs.pairs(options.annotations, "--annotation")
    if options.deadline:
        with mistakes.in_option("--deadline"):
            duration.parse(options.deadline)
    fuel = "" if options.fuel is None else str(options.fuel)
    said = {"runtime": options.backend, "fuel": fuel, "deadline": options.deadline}
    if any(said.values()):
        from pelagos_core.plugin.bundle import ANNOTATION_PREFIX

        found |= {f"{ANNOTATION_PREFIX}{word}": value for word, value in said.items() if value}
    return found


def _ports(words: tuple[str, ...]) -> tuple[Port, ...]:
    if not words:
        return ()
    from pelagos_core.cli import ports  # here: most runs publish nothing

    return tuple(map(ports.parse, words))


def _has_host_network(options: Options, *, is_module: bool) -> bool:
    """Whether it has the host's network. Raises UsageError, and FailedPrecondition if the node gives it to no guest."""
    if options.network == "none":
        return False
    if options.ports:
        raise click.UsageError("--network host cannot be combined with -p: the host's ports are the program's own")
    from pelagos_core.config import node_file

    if is_module and not node_file.load_node().policy.host_network:
        raise FailedPrecondition(
            f"--network host: the node's config gives it to no guest: host_network = true in {node_file.node_path()}"
        )
    return True


def _user(word: str) -> tuple[int, int]:
    """User and group of docker's `UID[:GID]`."""
    if not word:
        return 0, 0
    uid, colon, gid = word.partition(":")
    if not _is_id(uid) or (colon and not _is_id(gid)):
        raise click.BadParameter(f"{word!r} is not UID[:GID], in numbers", param_hint="--user")
    ids = int(uid), int(gid or 0)
    if os.geteuid() and any(ids):
        raise click.BadParameter("without root there is no other user than 0 in a container", param_hint="--user")
    return ids


def _is_id(word: str) -> bool:
    return word.isascii() and word.isdecimal() and int(word) <= _MOST_ID


def _resources(options: Options) -> dict[str, object]:
    """`linux.resources` for docker's options."""
    if options.cpus is not None and not _LEAST_CPUS <= options.cpus <= (os.cpu_count() or 1):
        raise click.BadParameter(f"{options.cpus:g} is not from {_LEAST_CPUS} to {os.cpu_count()}", param_hint="--cpus")
    cpu: dict[str, object] = {}
    if options.cpus is not None:
        cpu |= {"quota": round(options.cpus * _PERIOD_MICROSECONDS), "period": _PERIOD_MICROSECONDS}
    if options.cpuset:
        cpu["cpus"] = options.cpuset
    asked: dict[str, dict[str, object]] = {
        "memory": {"limit": _bytes(options.memory)},
        "cpu": cpu,
        "pids": {"limit": options.pids},
    }
    return {name: part for name, part in asked.items() if any(value is not None for value in part.values())}


def _bytes(text: str) -> int | None:
    if not text:
        return None
    with mistakes.in_option("--memory"):
        count = size.parse(text)
    if count < _LEAST_MEMORY:
        least = f"{_LEAST_MEMORY >> 20}m"
        raise click.BadParameter(f"{text!r} is too small for an engine: the least is {least}", param_hint="--memory")
    return count


def _matched(pattern: re.Pattern[str], word: str, option: str, what: str) -> str:
    if word and not pattern.fullmatch(word):
        raise click.BadParameter(f"{word!r} is not {what}", param_hint=option)
    return word
