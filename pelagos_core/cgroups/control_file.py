"""Control files: a limit is a value in one of them, and what is used is read from others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pelagos_core.linux.descriptor import Fd

Read = Callable[[str], str]  # a control file's present text, by its name; empty if it is not there

UNLIMITED = 2**64 - 1
_CHUNK_BYTES = 8 << 10


@dataclass(frozen=True, slots=True)
class Write:
    """One value for one file.

    field: the part of `linux.resources` that asks for it. file: such as `memory.max`; the
    controller is what stands before the first full stop. keyed: the file holds a value for each
    device, and the first word of `value` names it; `reset` is what a device has at first.
    optional: if the file is missing, the limit is enforced anyway.
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


def read(path: str) -> str:
    """The text of a control file, without the white space around it. Raises OSError."""
    # Not by `open`, whose layers ask the kernel five things that are known of a control file.
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
    """A file that holds one number; `max`, which is no limit, is 2^64 - 1, and no file is 0."""
    if text == "max":
        return UNLIMITED
    return int(text) if text.isdecimal() else 0


def table(text: str) -> dict[str, int]:
    """A file of `name number` lines. What is no such line is left out."""
    pairs = (line.split() for line in text.splitlines())
    return {words[0]: int(words[1]) for words in pairs if len(words) == 2 and words[1].isdecimal()}


def assignments(text: str) -> Iterator[tuple[str, dict[str, int]]]:
    """A file of `device name=number name=number` lines."""
    for line in text.splitlines():
        device, *words = line.split()
        pairs = (word.partition("=") for word in words)
        yield device, {name: number(value) for name, _, value in pairs}
