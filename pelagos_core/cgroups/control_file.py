"""Control files of control groups: limits are written to them, usage is read from them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pelagos_core.linux.descriptor import Fd

Read = Callable[[str], str]  # file name -> current text of the control file; empty if it is missing

UNLIMITED = 2**64 - 1
_CHUNK_BYTES = 8 << 10


@dataclass(frozen=True, slots=True)
class Write:
    """One value for one control file.

    field: the part of `linux.resources` that sets it. file: such as `memory.max`; the part before the first dot is the
    controller. keyed: the file has one value for each device, named by the first word of `value`; `reset` is the
    initial value of a device. optional: whether a missing file is ignored: the limit is enforced anyway.
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
        """The write that restores `before`, the file's earlier text."""
        value = before
        if self.keyed:
            key = self.value.split()[0]
            lines = [line for line in before.splitlines() if line.split()[:1] == [key]]
            value = lines[0] if lines else f"{key} {self.reset}"
        return Write(self.field, self.file, value, self.keyed, self.reset, self.optional)


def read(path: str) -> str:
    """The text of a control file, stripped of white space. Raises OSError."""
    # os.open and not `open`, which makes five more system calls.
    text = b""
    with Fd(os.open(path, os.O_RDONLY | os.O_CLOEXEC)) as file:
        while chunk := os.read(file, _CHUNK_BYTES):
            text += chunk
    return text.decode("ascii").strip()


def write(path: str, value: str) -> None:
    """Write one value. Raises OSError."""
    with Fd(os.open(path, os.O_WRONLY | os.O_CLOEXEC)) as file:
        os.write(file, value.encode("ascii"))


def number(text: str) -> int:
    """Parse one number. Returns 2^64 - 1 for `max` (no limit), 0 for any other text."""
    if text == "max":
        return UNLIMITED
    return int(text) if text.isdecimal() else 0


def table(text: str) -> dict[str, int]:
    """Parse lines `name number`. Other lines are skipped."""
    pairs = (line.split() for line in text.splitlines())
    return {words[0]: int(words[1]) for words in pairs if len(words) == 2 and words[1].isdecimal()}


def assignments(text: str) -> Iterator[tuple[str, dict[str, int]]]:
    """Parse lines `device name=number name=number`."""
    for line in text.splitlines():
        device, *words = line.split()
        pairs = (word.partition("=") for word in words)
        yield device, {name: number(value) for name, _, value in pairs}
