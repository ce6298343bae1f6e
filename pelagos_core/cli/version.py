"""`pelagos version`: what is installed, for a person or a bug report."""

from __future__ import annotations

import json
import platform

import click

from pelagos_core import __version__


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def version(as_json: bool) -> None:
    """Print the versions of pelagos, Python and the kernel."""
    versions = {"pelagos": __version__, "python": platform.python_version(), "kernel": platform.release()}
    if as_json:
        click.echo(json.dumps(versions))
        return
    for name, value in versions.items():
        click.echo(f"{name:8} {value}")
