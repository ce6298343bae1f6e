"""The steps of a native program in a process without an interpreter: the choice of its file, and execve(2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pelagos_core import reasons
from pelagos_core.backends.native import CANNOT_RUN, NOT_FOUND, no_interpreter, not_allowed
from pelagos_core.errors import Internal, PelagosError
from pelagos_core.isolation.operation import Operation
from pelagos_core.isolation.state import CONTROL, MASTER, ROOT
from pelagos_core.launch import messages
from pelagos_core.launch.messages import Terminal
from pelagos_core.native.instruction import Instruction, Slot, instruction
from pelagos_core.native.process import Failure


@dataclass(frozen=True, slots=True)
class HandOverTerminal(Operation):
    """Send the daemon the master of a terminal of the container's devpts, if there is one."""

    def reads(self) -> tuple[str, ...]:
        return (CONTROL, MASTER)

    def describe(self) -> str:
        return "hand over the master of the container's terminal, if it has one"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("hand_over", Slot(MASTER), messages.encode(Terminal()).decode()),)


@dataclass(frozen=True, slots=True)
class SendFile(Operation):
    """Send the daemon a copy of a file of the container. most: maximum size in bytes."""

    path: str
    most: int

    def reads(self) -> tuple[str, ...]:
        return (ROOT, CONTROL)

    def describe(self) -> str:
        return f"send a copy of {self.path}"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("send_contents", self.path, self.most),)


@dataclass(frozen=True, slots=True)
class ChooseProgram(Operation):
    """Choose the first of these paths whose file the process' user may execute.

    path: of the entry point, the first candidate. interpreter: of it, which must exist; empty for none.
    """

    reason: ClassVar[str] = reasons.ENTRYPOINT
    path: str
    others: tuple[str, ...]
    interpreter: str = ""

    def describe(self) -> str:
        return f"choose the program: {', '.join((self.path, *self.others))}"

    def details(self) -> str:
        return f"with the interpreter {self.interpreter}" if self.interpreter else ""

    def instructions(self) -> tuple[Instruction, ...]:
        choose = instruction("choose_program", self.path, *self.others)
        required = (instruction("require_interpreter", self.path, self.interpreter),) if self.interpreter else ()
        return (choose, *required)

    def failure(self, failed: Failure) -> PelagosError:
        return no_interpreter(self.path, self.interpreter) if failed.step else not_allowed(self.path)


@dataclass(frozen=True, slots=True)
class ExecuteProgram(Operation):
    """Execute the chosen program by execve(2)."""

    is_common: ClassVar[bool] = False
    arguments: tuple[str, ...]
    environment: tuple[str, ...]

    def describe(self) -> str:
        return "execute the program"

    def details(self) -> str:
        return f"with {len(self.arguments)} words and {len(self.environment)} variables"  # may be secrets

    def instructions(self) -> tuple[Instruction, ...]:
        return (
            instruction("guest_arguments", *self.arguments),
            instruction("guest_environment", *self.environment),
            instruction("execute_program", "pelagos: exec ", NOT_FOUND, CANNOT_RUN),
        )

    def failure(self, failed: Failure) -> PelagosError:
        return Internal(f"{self.describe()}: {failed.strerror}")
