"""Makes a Python environment with additional backends for a test."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path


def environment_with(directory: Path, **backends: str) -> str:
    """Make an environment that contains this one's packages, and each of `backends` (name: source text).

    directory: where to create it. Returns the path of its interpreter.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True)
    site = next((directory / "lib").glob("python*")) / "site-packages"
    here = sysconfig.get_paths()["purelib"]
    # addsitedir also processes the .pth files of this environment (editable installs).
    (site / "base.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    _run_by_the_same_script(directory / "bin")
    _link_programs(directory / "bin")
    for name, source in backends.items():
        add_backend(site, name, source)
    return str(directory / "bin/python")


def _run_by_the_same_script(directory: Path) -> None:
    """If this interpreter is started by a script, start the new one by the same script."""
    with Path(sys.executable).open("rb") as file:
        if file.read(2) != b"#!":
            return
    # venv has created links to the interpreter: remove them first, or the script would overwrite the interpreter.
    for name in list(directory.glob("python*")):
        name.unlink()
    shutil.copy(sys.executable, directory / "python")


def _link_programs(directory: Path) -> None:
    """Link the programs that pip has installed in this environment, such as an engine's."""
    for path in Path(sysconfig.get_path("scripts")).iterdir():
        if not (directory / path.name).exists():
            (directory / path.name).symlink_to(path)


def add_backend(site: Path, name: str, source: str, package: str = "") -> None:
    """Install a backend into a site-packages directory, as pip would.

    source: the text of its module. package: the distribution's name, by default `backend-NAME`.
    """
    package = package or f"backend-{name}"
    module = package.replace("-", "_")
    (site / f"{module}.py").write_text(source)
    metadata = site / f"{module}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[pelagos.backends]\n{name} = {module}\n")
