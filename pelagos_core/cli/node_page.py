"""`pelagos ps --node`: the containers of every daemon of this node."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
from collections.abc import Iterator
from typing import NamedTuple

import click

from pelagos_core.api import inspection_pb2
from pelagos_core.cli import asking
from pelagos_core.cli.connection import INSPECTION
from pelagos_core.cli.table import print_table
from pelagos_core.errors import InvalidArgument, PelagosError, PermissionDenied, Unavailable
from pelagos_core.native.process_name import SHIM
from pelagos_core.shim import flags
from pelagos_core.shim.start import PROGRAM

_SILENT = "no answer"


class Daemon(NamedTuple):
    """A daemon that runs. group: the id of its pod, or of its only container. socket: a path, or empty."""

    pid: int
    namespace: str
    group: str
    socket: str


def show(*, quiet: bool, whole: bool, as_json: bool) -> None:
    """Print all containers, grouped by pod. Raises PermissionDenied without root."""
    if os.geteuid():
        raise PermissionDenied("--node needs root: the shims of containerd are root's")
    found = [daemon for daemon in daemons() if daemon.socket]
    rows = _rows(sorted(found, key=lambda daemon: (daemon.namespace, daemon.group)))
    if quiet:
        for row in rows:
            click.echo(row["id"])
    elif as_json:
        click.echo(json.dumps(rows))
    else:
        header = ["NAMESPACE", "POD", "ID", "PID", "BACKEND", "STATUS", "COMMAND"]
        print_table(header, [_cells(row) for row in rows], is_whole=whole)


def daemons() -> Iterator[Daemon]:
    """The daemons of this user, by their name and their command lines, which `start` gives them."""
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError, InvalidArgument):
            # A process of another user may have any name, and a guest these words: but not this name with them.
            if os.stat(f"/proc/{name}").st_uid != os.geteuid() or _read(name, "comm").strip() != SHIM.encode():
                continue
            # The words are written over those of what was executed: with spaces, where they are longer.
            program, *words = _read(name, "cmdline").replace(b"\0", b" ").decode(errors="replace").split() or [""]
            if program == PROGRAM:
                found = flags.parse(words)
                yield Daemon(int(name), found.namespace, found.id, found.socket)


def _read(pid: str, name: str) -> bytes:
    with open(f"/proc/{pid}/{name}", "rb") as file:
        return file.read()


def _rows(found: list[Daemon]) -> list[dict[str, object]]:
    """The containers that each daemon reports."""
    answers = asking.ask(INSPECTION, "List", [(daemon.socket, inspection_pb2.ListRequest()) for daemon in found])
    rows = []
    for daemon, answer in zip(found, answers, strict=True):
        if isinstance(answer, Unavailable):  # it has just ended
            continue
        silent = answer is None or isinstance(answer, PelagosError)  # one of an older version has no such method
        unknown = [inspection_pb2.ContainerSummary(id=daemon.group, status=_SILENT)]
        rows += [_row(daemon, container) for container in (unknown if silent else answer.containers)]
    return rows


def _row(daemon: Daemon, container: inspection_pb2.ContainerSummary) -> dict[str, object]:
    return {
        "namespace": daemon.namespace,
        "pod": daemon.group,
        "id": container.id,
        "pid": container.pid,
        "backend": container.backend,
        "status": container.status,
        "args": list(container.args),
        "shim_pid": daemon.pid,
    }


def _cells(row: dict[str, object]) -> list[str]:
    args = row["args"]
    assert isinstance(args, list)
    pod = "-" if row["pod"] == row["id"] else str(row["pod"])
    words = [str(row["namespace"]), pod, str(row["id"]), str(row["pid"] or "-"), str(row["backend"] or "-")]
    return [*words, str(row["status"]), shlex.join(args)]
