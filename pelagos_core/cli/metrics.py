"""`pelagos metrics`: the figures of this node, for Prometheus."""

from __future__ import annotations

import os
from pathlib import Path

import click

from pelagos_core.cli.command import command
from pelagos_core.errors import PermissionDenied
from pelagos_core.metrics import slots

NAME = "pelagos.prom"
SOCKET = "/run/pelagos/metrics.sock"


@command()
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
    """Print the figures of this node's containers for Prometheus.

    Needs root. Without options, it prints Prometheus' text format. Daemons count in one file of the node, which can be
    read without them. Counters start at zero after a boot and never decrease, even when daemons end or are killed.
    `metrics = false` in the node's config disables counting.

    \b
    pelagos metrics
    pelagos metrics --textfile /var/lib/node_exporter
    pelagos metrics --listen
    """
    if os.geteuid() and slots.VARIABLE not in os.environ:
        raise PermissionDenied("the figures of the node are root's: run it as root")
    if textfile and listen:
        raise click.UsageError("--textfile and --listen exclude each other")
    from pelagos_core.cli import exposition  # loads Prometheus' library, which `pelagos --help` does not need

    try:
        if listen:
            exposition.serve(listen)
        elif textfile:
            exposition.write(textfile / NAME)
        else:
            exposition.show()
    except OSError as error:
        if isinstance(error, BrokenPipeError) or not error.filename:
            raise
        raise PermissionDenied(f"{error.filename!r}: {error.strerror}") from None
