"""`pelagos version`: prints the installed versions, for bug reports."""

from __future__ import annotations

import json
import platform

import click

from pelagos_core import __version__
from pelagos_core.cli.command import command
from pelagos_core.cli.formats import json_option


@command()
@json_option
def version(as_json: bool) -> None:
    """Print the versions of pelagos, Python and the kernel.

    \b
    pelagos version
    pelagos version --format json
    """
    versions = {"pelagos": __version__, "python": platform.python_version(), "kernel": platform.release()}
    if as_json:
        click.echo(json.dumps(versions))
        return
    for name, value in versions.items():
        click.echo(f"{name:8} {value}")
