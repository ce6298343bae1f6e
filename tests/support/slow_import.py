"""A backend whose import takes as long as a test requires."""

from __future__ import annotations

from pathlib import Path


def source(begun: Path, go: Path) -> str:
    """Lines for the top of a backend: the first import creates the file `begun` and waits for the file `go`."""
    return f"""
import os, pathlib, time
if not os.path.exists({str(begun)!r}):
    pathlib.Path({str(begun)!r}).touch()
    while not os.path.exists({str(go)!r}):
        time.sleep(0.01)
"""
