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
_MAX_BYTES = 16 << 20  # of a file that may be ours
RUNTIME_NAMES = ("io.containerd.pelagos.wasm.v1", "io.containerd.pelagos-wasm.v1")

_bin_dir = click.option(
    "--bin-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_BIN_DIR,
    show_default=True,
    help="A directory on containerd's PATH.",
)
_systemd_dir = click.option(
    "--systemd-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Also pelagos-zygote.service, in this directory, such as /etc/systemd/system.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@_bin_dir
@_systemd_dir
@click.option("--force", is_flag=True, help="Replace files that pelagos did not write.")
@_json
def install(bin_dir: Path, systemd_dir: Path | None, force: bool, as_json: bool) -> None:
    """Install the shim of this Python environment for containerd.

    Writes containerd-shim-wasm-v1 and containerd-shim-pelagos-wasm-v1. Both are the same
    program; containerd derives the file's name from the runtime's name. It is the compiled launcher
    where the package pelagos-native is installed, and else a Python script. With --systemd-dir
    also a unit that keeps the zygote (see `pelagos zygote --help`), which is optional.
    """
    files = {bin_dir / name: (launcher.program(), 0o755) for name in launcher.NAMES}
    if systemd_dir:
        files[systemd_dir / launcher.UNIT] = (launcher.unit().encode(), 0o644)
    for path in files:
        if not path.parent.is_dir():
            raise NotFound(f"directory {str(path.parent)!r} does not exist")
        if path.exists() and not force and not _is_ours(path):
            raise AlreadyExists(f"file {str(path)!r} was not written by pelagos (--force replaces it)")
    for path, (content, mode) in files.items():
        try:
            _write(path, content, mode)
        except OSError as error:
            raise PermissionDenied(f"directory {str(path.parent)!r} cannot be written to: {error.strerror}") from None
    _tell(as_json, "installed", list(files))
    if not as_json:
        click.echo(f"containerd runtime names: {' or '.join(RUNTIME_NAMES)}")
        if systemd_dir:
            click.echo(f"to run the zygote: systemctl daemon-reload; systemctl enable --now {launcher.UNIT}")


@click.command()
@_bin_dir
@_systemd_dir
@_json
def uninstall(bin_dir: Path, systemd_dir: Path | None, as_json: bool) -> None:
    """Remove what `pelagos install` wrote, and no more."""
    removed = []
    paths = [bin_dir / name for name in launcher.NAMES]
    paths += [systemd_dir / launcher.UNIT] if systemd_dir else []
    for path in paths:
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
        return launcher.MARK.encode() in file.read(_MAX_BYTES)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write by rename: containerd may execute the file at any moment."""
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
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
