"""A limit as what it is to the kernel: a value in a control file of a group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Read = Callable[[str], str]  # a control file's present text, by its name; empty if it is not there


@dataclass(frozen=True, slots=True)
class Write:
    """One value for one file.

    field: the part of `linux.resources` that asks for it. file: such as `memory.max`; the
    controller is what stands before the first full stop. keyed: the file holds a value for each
    device, and the first word of `value` names it; `reset` is what a device has at first.
    optional: a kernel without the file does not hold less for it.
    """

    field: str
    file: str
    value: str
    keyed: bool = False
    reset: str = ""
    optional: bool = False

    @property
    def controller(self) -> str:
        """The controller that the file belongs to."""
        return self.file.partition(".")[0]

    def undo(self, before: str) -> Write:
        """What brings back the text that the file had."""
        value = before
        if self.keyed:
            key = self.value.split()[0]
            lines = [line for line in before.splitlines() if line.split()[:1] == [key]]
            value = lines[0] if lines else f"{key} {self.reset}"
        return Write(self.field, self.file, value, self.keyed, self.reset, self.optional)
