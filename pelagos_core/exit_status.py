"""How a process ended, as the task API tells it: a code and a time."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """An exit code (0-255, or 128+n for death by signal n) and when it was seen.

    `exited_at` is in nanoseconds since the epoch, UTC.
    """

    code: int
    exited_at: int

    @classmethod
    def now(cls, code: int) -> ExitStatus:
        """An exit with `code` that is seen at this moment."""
        return cls(code, time.time_ns())

    @classmethod
    def from_waitid(cls, result: os.waitid_result) -> ExitStatus:
        """Read what waitid(2) says of a child that is gone."""
        if result.si_code == os.CLD_EXITED:
            return cls.now(result.si_status)
        return cls.now(128 + result.si_status)
