"""A Python environment with backends of a test's own beside the real ones."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path


def environment_with(directory: Path, **backends: str) -> str:
    """Make an environment in which each of `backends` (name: source text) is installed.

    What this environment has is there too. Returns the interpreter's path.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True)
    site = next((directory / "lib").glob("python*")) / "site-packages"
    here = sysconfig.get_paths()["purelib"]
    # By addsitedir, so that this environment's own .pth files count (editable installs).
    (site / "base.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    _run_by_the_same_script(directory / "bin")
    _link_programs(directory / "bin")
    for name, source in backends.items():
        add_backend(site, name, source)
    return str(directory / "bin/python")


def _run_by_the_same_script(directory: Path) -> None:
    """Where our own interpreter is started by a script, have the new one started so too."""
    with Path(sys.executable).open("rb") as file:
        if file.read(2) != b"#!":
            return
    # venv made links to the interpreter itself: replaced, not written through.
    for name in list(directory.glob("python*")):
        name.unlink()
    shutil.copy(sys.executable, directory / "python")


def _link_programs(directory: Path) -> None:
    """What pip has put into our own environment's directory of programs, such as an engine, is there too."""
    for path in Path(sysconfig.get_path("scripts")).iterdir():
        if not (directory / path.name).exists():
            (directory / path.name).symlink_to(path)


def add_backend(site: Path, name: str, source: str, package: str = "") -> None:
    """Install a backend of this source text into a site-packages directory, as pip would.

    package: of the distribution, `backend-NAME` if it is not given.
    """
    package = package or f"backend-{name}"
    module = package.replace("-", "_")
    (site / f"{module}.py").write_text(source)
    metadata = site / f"{module}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[pelagos.backends]\n{name} = {module}\n")
