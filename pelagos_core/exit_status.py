"""How a process ended, as the task API reports it: a code and a time."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

MAX_CODE = 255


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """An exit code (0-255, or 128+n for death by signal n) and when it was seen.

    `exited_at` is in nanoseconds since the epoch, UTC. Raises ValueError for what a process
    cannot end with, such as the negative numbers of `subprocess`.
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
        """An exit with `code` that is seen at this moment."""
        return cls(code, time.time_ns())

    @classmethod
    def unknown(cls) -> ExitStatus:
        """An exit whose code is not known: 255, as containerd has it."""
        return cls.now(MAX_CODE)

    @classmethod
    def from_waitid(cls, result: os.waitid_result) -> ExitStatus:
        """Read what waitid(2) says of a child that is gone."""
        if result.si_code == os.CLD_EXITED:
            return cls.now(result.si_status)
        return cls.now(128 + result.si_status)


def ending(result: os.waitid_result) -> str:
    """How a child has ended, as waitid(2) says, in words for an error's text."""
    if result.si_code == os.CLD_EXITED:
        return f"the process exited with code {result.si_status}"
    return f"the process died of {signal_name(result.si_status)}"


def signal_name(number: int) -> str:
    """A signal's name; a real-time one has none of its own but the first and the last."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
