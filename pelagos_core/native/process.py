"""Execution of plans by the compiled library in the calling process, and the process' slots."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from dataclasses import dataclass

from pelagos_core.errors import InvalidArgument
from pelagos_core.native import library
from pelagos_core.native.instruction import MAX_SLOTS, Instruction, SlotNumbers, encode

MAX_PATH = 4096
_MAX_DETAIL = 4096


class _Fields(ctypes.Structure):
    """The first fields of `struct process` (native/process/plan.h)."""

    _fields_ = [
        ("slot", ctypes.c_int32 * MAX_SLOTS),
        ("step", ctypes.c_uint32),
        ("stage", ctypes.c_int32),
        ("root_path", ctypes.c_char * MAX_PATH),
        ("detail", ctypes.c_char * _MAX_DETAIL),
    ]


@dataclass(frozen=True, slots=True)
class Failure:
    """The failure of a plan.

    step: index of the instruction in its plan. error: an errno. stage: one of `library.stages`.
    detail: the object of the failed call, if the instruction does not name it.
    """

    step: int
    error: int
    stage: str = "call"
    detail: str = ""

    @property
    def strerror(self) -> str:
        """The text of the errno."""
        return os.strerror(self.error)


class NativeProcess:
    """The calling process. One object for each process; a fork has a copy."""

    def __init__(self, root: str = "") -> None:
        """root: the path on the host of the directory that becomes the process' root.

        Raises InvalidArgument for a path that is longer than PATH_MAX.
        """
        path = root.encode("utf-8", "surrogateescape")
        if len(path) >= MAX_PATH:
            raise InvalidArgument(f"the root's path has {len(path)} bytes, more than Linux supports")
        self._memory = ctypes.create_string_buffer(library.library().plan_process_size())
        self._fields = _Fields.from_buffer(self._memory)
        self._numbers = SlotNumbers()
        library.library().plan_reset(self._memory)
        self._fields.root_path = path

    def __getitem__(self, slot: str) -> int:
        """The descriptor in a slot; -1 if it is empty."""
        return int(self._fields.slot[self._numbers.of(slot)])

    def __setitem__(self, slot: str, descriptor: int) -> None:
        self._fields.slot[self._numbers.of(slot)] = descriptor

    def __contains__(self, slot: str) -> bool:
        return self[slot] >= 0

    def __delitem__(self, slot: str) -> None:
        self[slot] = -1

    def run(self, instructions: Iterable[Instruction]) -> Failure | None:
        """Execute instructions in the calling process. Returns the failure, or None."""
        plan = encode(instructions, self._numbers)
        error = library.library().plan_execute(self._memory, plan, len(plan))
        if not error:
            return None
        detail = self._fields.detail.decode("utf-8", "replace")
        return Failure(self._fields.step, -error, library.stages()[self._fields.stage], detail)
