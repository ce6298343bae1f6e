"""Builds the distributions with compiled parts, in a copy of the tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
_SKIPPED = shutil.ignore_patterns("bin", "__pycache__")


def build(directory: Path, distribution: str, *options: str, **environment: str) -> tuple[int, str, list[Path]]:
    """Build a distribution in this environment; return the exit code, the output, and the built files.

    distribution: its directory in the tree. options: of `python -m build`; by default it builds an sdist, and a wheel
    from it.
    """
    tree = directory / "tree"
    for name in {"native", distribution}:
        shutil.copytree(ROOT / name, tree / name, ignore=_SKIPPED)
    shutil.copy(ROOT / ".gitignore", tree)
    (tree / "pelagos_core").mkdir()
    shutil.copy(ROOT / "pelagos_core/__init__.py", tree / "pelagos_core")  # it has the version of all
    before = _files(tree)
    words = [sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", directory / "dist"]
    done = subprocess.run(
        [*words, tree / distribution], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert _files(tree) == before  # nothing is left in it, or taken
    return done.returncode, done.stdout + done.stderr, sorted((directory / "dist").glob("*"))


def _files(tree: Path) -> set[Path]:
    return {path for path in tree.rglob("*") if "__pycache__" not in path.parts}
