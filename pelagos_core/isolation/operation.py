"""What every step of a plan is, and the one place where steps are carried out."""

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
    """One step. It is a value: its arguments are all that tells it from another step of its class."""

    __slots__ = ()
    reason: ClassVar[str] = reasons.ISOLATION
    """What an error of the step is named by, where the error says nothing itself."""

    def reads(self) -> tuple[str, ...]:
        """The slots of the state that an earlier step, or the process' start, has filled."""
        return ()

    def writes(self) -> tuple[str, ...]:
        """The slots that it fills, for later steps."""
        return ()

    def describe(self) -> str:
        """What it does, for the log and for the error if it fails."""
        raise NotImplementedError

    def details(self) -> str:
        """Those of its arguments that `describe` leaves out; empty if there are none."""
        return ""

    def instructions(self) -> tuple[Instruction, ...]:
        """What of it the compiled library carries out: see native/process/operations.h."""
        raise NotImplementedError

    def failure(self, failed: Failure) -> PelagosError:
        """The error for an instruction that has failed. failed.step: its place among `instructions`."""
        return Internal(f"{self.describe()}: {failed.strerror}")

    def execute(self, state: State) -> None:
        """Do it, in the process that the plan is for. Raises OSError or PelagosError."""
        failed = state.descriptors.run(self.instructions())
        if failed:
            raise self.failure(failed)

    def line(self) -> str:
        """All that there is to say of it: what it does, with its arguments and the slots that it uses."""
        details = self.details()
        said = f"{self.describe()} ({details})" if details else self.describe()
        slots = [
            f"{verb} {', '.join(names)}" for verb, names in (("from", self.reads()), ("to", self.writes())) if names
        ]
        return f"{said} [{'; '.join(slots)}]" if slots else said


def execute(operations: Iterable[Operation], state: State) -> None:
    """Carry steps out, in order, in the process that they are for.

    Raises PelagosError: of the step that failed, with its reason; what follows is not done.
    """
    for operation in operations:
        with because(operation.reason):
            try:
                operation.execute(state)
            except OSError as error:
                raise Internal(f"{operation.describe()}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Refuse(Operation):
    """What pelagos cannot do, where only the entry point's kind tells that it is asked for."""

    what: str

    def describe(self) -> str:
        return f"refuse: {self.what}"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("refuse", errno.ENOSYS),)

    def failure(self, failed: Failure) -> PelagosError:
        return Unimplemented(self.what)


@dataclass(frozen=True, slots=True)
class Close(Operation):
    """Close what is in a slot, which no later step reads."""

    slot: str

    def reads(self) -> tuple[str, ...]:
        return (self.slot,)

    def describe(self) -> str:
        return f"close the {self.slot}"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("close_slot", Slot(self.slot)),)
