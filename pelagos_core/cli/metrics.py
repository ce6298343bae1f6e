"""`pelagos metrics`: the figures of this node, for Prometheus."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import click
from prometheus_client import CollectorRegistry, generate_latest, make_wsgi_app, write_to_textfile
from prometheus_client.core import GaugeMetricFamily, Metric

from pelagos_core.cache.store import Store
from pelagos_core.cli import exit_codes
from pelagos_core.config import node_file
from pelagos_core.errors import AlreadyExists, NotFound, PermissionDenied
from pelagos_core.metrics import families, slots
from pelagos_core.metrics.exposition import Node
from pelagos_core.shim import unix_socket
from pelagos_core.shim.unix_socket import Lock

NAME = "pelagos.prom"
SOCKET = "/run/pelagos/metrics.sock"
_CLIENT_SECONDS = 5.0  # for a request, or to read its answer


@click.command()
@click.option(
    "--textfile",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"Write {NAME} into this directory, of node_exporter's textfile collector; by a rename.",
)
@click.option(
    "--listen",
    is_flag=False,
    flag_value=SOCKET,
    metavar="[PATH]",
    help=f"Serve HTTP on a Unix socket that only root can open, {SOCKET} by default.",
)
def metrics(textfile: Path | None, listen: str | None) -> None:
    """Print the figures of this node's containers in Prometheus' text format.

    Daemons count in a file of the node; reading it needs none of them. Counters begin with the
    boot and never go backwards, whatever becomes of daemons. docs/observability.md has a list.
    `metrics = false` in the node's config turns the counting off.
    """
    if os.geteuid() and slots.VARIABLE not in os.environ:
        raise PermissionDenied("the figures of the node are root's")
    if textfile and listen:
        raise click.UsageError("--textfile and --listen exclude each other.")
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Node(slots.directory()))
    registry.register(_Cache())
    try:
        if listen:
            _serve(registry, listen)
        elif textfile:
            _write(registry, textfile)
        else:
            sys.stdout.buffer.write(generate_latest(registry))
    except OSError as error:
        if isinstance(error, BrokenPipeError) or not error.filename:
            raise
        raise PermissionDenied(f"{error.filename!r}: {error.strerror}") from None


class _Cache:
    """A collector of what the store of compiled code takes."""

    def collect(self) -> Iterator[Metric]:
        path = node_file.load_node().cache.directory
        size: Counter[str] = Counter()
        count: Counter[str] = Counter()
        if os.path.isdir(path):  # a store that is opened is made
            with Store(path) as store:
                for entry in store.entries():
                    engine = entry.about.key.backend.partition(" ")[0]
                    size[engine] += entry.disk_bytes
                    count[engine] += 1
        for family, values in ((families.CACHE_BYTES, size), (families.CACHE_ENTRIES, count)):
            made = GaugeMetricFamily(family.name, family.help, labels=family.label_names)
            for engine in sorted(values):
                made.add_metric([engine], values[engine])
            yield made


def _write(registry: CollectorRegistry, directory: Path) -> None:
    if not directory.is_dir():
        raise NotFound(f"directory {str(directory)!r} does not exist")
    os.umask(0o022)  # node_exporter runs as a user of its own
    write_to_textfile(str(directory / NAME), registry)


def _serve(registry: CollectorRegistry, path: str) -> None:
    """Serve until a signal ends the process."""
    path = os.path.abspath(path)
    if len(os.fsencode(path)) > unix_socket.MAX_PATH:
        raise NotFound(f"socket {path!r}: longer than {unix_socket.MAX_PATH} bytes")
    with Lock(path):
        if unix_socket.is_served(path):
            raise AlreadyExists(f"socket {path!r}: another process listens on it")
        if os.path.lexists(path) and not Path(path).is_socket():
            raise AlreadyExists(f"file {path!r} is not a socket")
        listener = socket.socket(fileno=unix_socket.listen(path).detach())
    own = unix_socket.identity(path)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(exit_codes.OK))
    try:
        with _Server(listener) as server:
            server.set_app(make_wsgi_app(registry))
            server.serve_forever()
    finally:
        with Lock(path):
            if unix_socket.identity(path) == own:
                os.unlink(path)


class _Handler(WSGIRequestHandler):
    timeout = _CLIENT_SECONDS

    def log_message(self, *_: object) -> None:
        """No line for each request."""


class _Server(ThreadingMixIn, WSGIServer):
    """wsgiref's server on a Unix socket that listens already."""

    daemon_threads = True

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(("localhost", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_name, self.server_port = "localhost", 0
        self.setup_environ()

    def get_request(self) -> tuple[socket.socket, Any]:
        """The next connection; a Unix socket has no address, of which wsgiref shows a host."""
        connection, _ = self.socket.accept()
        return connection, ("localhost", 0)
