"""The base class of all steps of a plan, and their execution."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from pelagos_core import reasons
from pelagos_core.errors import Internal, PelagosError, Unimplemented
from pelagos_core.isolation.state import State
from pelagos_core.native.instruction import Instruction, Slot, instruction
from pelagos_core.native.process import Failure
from pelagos_core.reasons import because


class Operation:
    """One step of a plan. A value: two steps of a class with equal arguments are equal."""

    __slots__ = ()
    reason: ClassVar[str] = reasons.ISOLATION
    """The reason code of the step's errors; an error's own code has precedence."""
    is_common: ClassVar[bool] = True
    """Whether to cache its encoding, since other containers may have an equal step. False if it may hold a secret."""

    def reads(self) -> tuple[str, ...]:
        """The slots that it reads; an earlier step or the start of the process fills them."""
        return ()

    def writes(self) -> tuple[str, ...]:
        """The slots that it fills for later steps."""
        return ()

    def describe(self) -> str:
        """The step in words, for the log and for errors."""
        raise NotImplementedError

    def details(self) -> str:
        """The arguments that `describe` leaves out; empty if there are none."""
        return ""

    def instructions(self) -> tuple[Instruction, ...]:
        """The instructions for the compiled library, see native/process/operations.h."""
        raise NotImplementedError

    def failure(self, failed: Failure) -> PelagosError:
        """The error for a failed instruction. failed.step: its index in `instructions`."""
        return Internal(f"{self.describe()}: {failed.strerror}")

    def execute(self, state: State) -> None:
        """Execute the step, in the process of the plan. Raises OSError or PelagosError."""
        failed = state.descriptors.run(self.instructions())
        if failed:
            raise self.failure(failed)

    def line(self) -> str:
        """The full description: `describe`, `details` and the slots."""
        details = self.details()
        text = f"{self.describe()} ({details})" if details else self.describe()
        slots = [
            f"{verb} {', '.join(names)}" for verb, names in (("from", self.reads()), ("to", self.writes())) if names
        ]
        return f"{text} [{'; '.join(slots)}]" if slots else text


def execute(operations: Iterable[Operation], state: State) -> None:
    """Execute steps in order, in the process of the plan.

    Raises the PelagosError of the first failed step, with its reason code; later steps are not executed.
    """
    for operation in operations:
        with because(operation.reason):
            try:
                operation.execute(state)
            except OSError as error:
                raise Internal(f"{operation.describe()}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Refuse(Operation):
    """Fail with Unimplemented: the request is not supported for one kind of entry point."""

    what: str

    def describe(self) -> str:
        return f"refuse: {self.what}"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("refuse", errno.ENOSYS),)

    def failure(self, failed: Failure) -> PelagosError:
        return Unimplemented(self.what)


@dataclass(frozen=True, slots=True)
class Close(Operation):
    """Close the descriptor of a slot. No later step may read it."""

    slot: str

    def reads(self) -> tuple[str, ...]:
        return (self.slot,)

    def describe(self) -> str:
        return f"close the {self.slot}"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("close_slot", Slot(self.slot)),)
