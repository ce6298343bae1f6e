"""The exit status of a process, as the task API reports it: a code and a time."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

MAX_CODE = 255


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """An exit code and its time.

    code: 0 to 255; 128+n if signal n has killed the process.
    exited_at: when the exit was observed, in nanoseconds since the epoch (UTC).
    Raises ValueError for other codes, such as the negative numbers of `subprocess`.
    """

    code: int
    exited_at: int

    def __post_init__(self) -> None:
        if not (isinstance(self.code, int) and 0 <= self.code <= MAX_CODE):
            raise ValueError(f"exit code {self.code!r} is not a number from 0 to {MAX_CODE}")
        if not (isinstance(self.exited_at, int) and 0 <= self.exited_at < 1 << 63):
            raise ValueError(f"exit time {self.exited_at!r} is not a number of nanoseconds")

    @classmethod
    def now(cls, code: int) -> ExitStatus:
        """An exit with `code` that is observed now."""
        return cls(code, time.time_ns())

    @classmethod
    def unknown(cls) -> ExitStatus:
        """An exit with an unknown code: 255, as in containerd."""
        return cls.now(MAX_CODE)

    @classmethod
    def from_waitid(cls, result: os.waitid_result) -> ExitStatus:
        """The exit status of a child from the result of waitid(2)."""
        if result.si_code == os.CLD_EXITED:
            return cls.now(result.si_status)
        return cls.now(128 + result.si_status)


def ending(result: os.waitid_result) -> str:
    """The text for an error message that says how a child has ended. result: of waitid(2)."""
    if result.si_code == os.CLD_EXITED:
        return f"the process exited with code {result.si_status}"
    return f"the process was killed by {signal_name(result.si_status)}"


def signal_name(number: int) -> str:
    """A signal's name, such as `SIGTERM`; `signal N` for a real-time signal without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
