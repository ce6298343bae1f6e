"""`pelagos conformance`: runs the conformance kit on a backend."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib import metadata

import click

from pelagos_core.cli import completion, packages
from pelagos_core.cli.command import command
from pelagos_core.errors import FailedPrecondition, NotFound
from pelagos_core.plugin.hookspecs import ENTRY_POINT_GROUP


@command(context_settings={"ignore_unknown_options": True})
@click.argument("name", shell_complete=completion.backends)
@click.argument("pytest_args", nargs=-1, type=click.UNPROCESSED)
def conformance(name: str, pytest_args: tuple[str, ...]) -> None:
    """Test a backend and print which features work.

    Runs containers through the real shim; containerd is not needed. PYTEST_ARGS are arguments of pytest,
    such as `-k signals -x`. `--wasi-testsuite DIR` also runs a checkout of the public WASI test suite.

    \b
    pelagos conformance NAME
    pelagos conformance NAME -k signals -x
    pelagos conformance NAME --wasi-testsuite ./wasi-testsuite

    Exit codes: 0 if all claimed features work, 1 if one does not, 5 if nothing was tested.
    """
    installed = [point.name for point in metadata.entry_points(group=ENTRY_POINT_GROUP)]
    if name not in installed:
        raise NotFound(f"backend {name!r} is not installed: `pelagos backends` lists those that are")
    missing = [package for package in ("pytest", "wasmtime") if importlib.util.find_spec(package) is None]
    if missing:
        command = packages.adding("'pelagos-core[conformance]'")
        raise FailedPrecondition(f"{' and '.join(missing)} not installed: {command}")
    words = ["-p", "pelagos_core.conformance.plugin", f"--pelagos-backend={name}", "-p", "no:cacheprovider", "-q"]
    # Do not read the pytest configuration of the current directory.
    words += ["-c", "/dev/null", "--rootdir", "/", "--pyargs", "pelagos_core.conformance.suite"]
    sys.exit(subprocess.run([sys.executable, "-m", "pytest", *words, *pytest_args], check=False).returncode)
