"""A sleeping child process, which the tested code ends and reaps."""

from __future__ import annotations

import os
import subprocess
from typing import Any


def sleeper(**options: Any) -> int:
    """Start a sleeping process; return its pid. options: of subprocess.Popen."""
    process = subprocess.Popen(["/bin/sleep", "60"], **options)
    process.returncode = 0  # otherwise Popen would reap it and print a warning
    return process.pid


def is_reaped(pid: int) -> bool:
    """Whether a child of ours has been reaped."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False
