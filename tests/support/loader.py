"""Makes a Python environment that runs with another system's loader and C library.

It can load `libwasmedge` of a newer Debian, like a Python on that Debian.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pelagos_core.conformance.environment import environment_with
from pelagos_core.plugin import program


def environment_under(root: Path, directory: Path) -> str:
    """Make an environment below `directory` whose interpreter runs in the system of `root`."""
    python = Path(environment_with(directory))
    real = os.path.realpath(sys.executable)
    (loader, *search, _) = program.find("wasmedge", {"root": str(root)}).command
    words = " ".join([loader, *search, "--argv0", '"$0"', real, '"$@"'])
    # The environment's interpreters are links to ours: remove them first, or the script would overwrite ours.
    for name in list(python.parent.glob("python*")):
        name.unlink()
    python.write_text(f"#!/bin/sh\nexec {words}\n")
    python.chmod(0o755)
    return str(python)
