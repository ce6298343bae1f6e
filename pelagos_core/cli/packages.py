"""The command that adds a package to this Python environment, for messages.

Debian and others forbid pip to install into the system's Python (PEP 668), so a plain `pip install` would fail.
"""

from __future__ import annotations

import os
import sys


def adding(package: str) -> str:
    """The command that adds a package to this environment, by pipx or by the environment's own pip."""
    if f"{os.sep}pipx{os.sep}venvs{os.sep}" in f"{sys.prefix}{os.sep}":
        return f"pipx inject {os.path.basename(sys.prefix)} {package}"
    pip = os.path.join(os.path.dirname(sys.executable), "pip")
    if sys.prefix != sys.base_prefix and os.path.exists(pip):
        return f"{pip} install {package}"
    return f"{sys.executable} -m pip install {package}"
