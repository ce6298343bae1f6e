"""A child that does nothing, to be ended and reaped by what is tested."""

from __future__ import annotations

import os
import subprocess
from typing import Any


def sleeper(**options: Any) -> int:
    """Start one; its pid. options: of subprocess.Popen."""
    process = subprocess.Popen(["/bin/sleep", "60"], **options)
    process.returncode = 0  # else Popen would reap it, and warn
    return process.pid


def is_reaped(pid: int) -> bool:
    """Whether a child of ours has been reaped."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False
