"""`pelagos install` and `uninstall`: put the shim where containerd looks for it."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import click

from pelagos_core.cli import launcher
from pelagos_core.errors import AlreadyExists, NotFound, PermissionDenied

DEFAULT_BIN_DIR = "/usr/local/bin"
RUNTIME_NAMES = ("io.containerd.pelagos.wasm.v1", "io.containerd.pelagos-wasm.v1")

_bin_dir = click.option(
    "--bin-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_BIN_DIR,
    show_default=True,
    help="A directory on containerd's PATH.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@_bin_dir
@click.option("--force", is_flag=True, help="Replace files that pelagos did not write.")
@_json
def install(bin_dir: Path, force: bool, as_json: bool) -> None:
    """Install the shim of this Python environment for containerd.

    Writes containerd-shim-wasm-v1 and containerd-shim-pelagos-wasm-v1. Both are the same
    program; containerd derives the file's name from the runtime's name.
    """
    if not bin_dir.is_dir():
        raise NotFound(f"directory {str(bin_dir)!r} does not exist")
    paths = [bin_dir / name for name in launcher.NAMES]
    for path in paths:
        if path.exists() and not force and not _is_ours(path):
            raise AlreadyExists(f"file {str(path)!r} was not written by pelagos (--force replaces it)")
    text = launcher.source()
    for path in paths:
        try:
            _write(path, text)
        except OSError as error:
            raise PermissionDenied(f"directory {str(bin_dir)!r} cannot be written to: {error.strerror}") from None
    _tell(as_json, "installed", paths)
    if not as_json:
        click.echo(f"containerd runtime names: {' or '.join(RUNTIME_NAMES)}")


@click.command()
@_bin_dir
@_json
def uninstall(bin_dir: Path, as_json: bool) -> None:
    """Remove the launchers that `pelagos install` wrote, and nothing else."""
    removed = []
    for path in (bin_dir / name for name in launcher.NAMES):
        if not path.exists():
            continue
        if not _is_ours(path):
            click.echo(f"pelagos: {path} was not written by pelagos, left alone", err=True)
            continue
        path.unlink()
        removed.append(path)
    _tell(as_json, "removed", removed)


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return launcher.MARK.encode() in file.read(1024)


def _write(path: Path, text: str) -> None:
    """Write by rename: containerd may execute the file at any moment."""
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o755)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _tell(as_json: bool, what: str, paths: list[Path]) -> None:
    if as_json:
        click.echo(json.dumps({what: [str(path) for path in paths]}))
    elif paths:
        for path in paths:
            click.echo(f"{what} {path}")
    else:
        click.echo(f"nothing to be {what}")
