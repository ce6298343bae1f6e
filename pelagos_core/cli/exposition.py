"""Writes the node's metrics: to stdout, to a textfile for node_exporter, or by HTTP on a Unix socket.

Uses Prometheus' own library. Only `pelagos metrics` imports this module.
"""

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

from prometheus_client import CollectorRegistry, generate_latest, make_wsgi_app, write_to_textfile
from prometheus_client.core import GaugeMetricFamily, Metric

from pelagos_core.cache.store import Store
from pelagos_core.cli import exit_codes
from pelagos_core.config import node_file
from pelagos_core.errors import AlreadyExists, NotFound
from pelagos_core.metrics import families, slots
from pelagos_core.metrics.exposition import Node
from pelagos_core.shim import unix_socket
from pelagos_core.shim.unix_socket import Lock

_CLIENT_SECONDS = 5.0  # for a request, or to read its answer


def show() -> None:
    """Print the text on stdout. Raises OSError."""
    sys.stdout.buffer.write(generate_latest(_registry()))


class _Cache:
    """A collector for the disk space of the store of compiled code."""

    def collect(self) -> Iterator[Metric]:
        path = node_file.load_node().cache.directory
        size: Counter[str] = Counter()
        count: Counter[str] = Counter()
        if os.path.isdir(path):  # opening a store would create it
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


def _registry() -> CollectorRegistry:
    made = CollectorRegistry(auto_describe=False)
    made.register(Node(slots.directory()))
    made.register(_Cache())
    return made


def write(path: Path) -> None:
    """Replace the file at `path`. Raises NotFound if its directory is missing, OSError."""
    if not path.parent.is_dir():
        raise NotFound(f"directory {str(path.parent)!r} does not exist")
    os.umask(0o022)  # node_exporter runs as another user
    write_to_textfile(str(path), _registry())


def serve(path: str) -> None:
    """Serve HTTP on a Unix socket that only this user can open, until a signal ends the process.

    Raises AlreadyExists if there is a listener, or another file. Raises OSError.
    """
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
            server.set_app(make_wsgi_app(_registry()))
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
        """The next connection, with an empty address: wsgiref expects one, but a Unix socket has none."""
        connection, _ = self.socket.accept()
        return connection, ("localhost", 0)
