"""The steps on a process' descriptors: their numbers, its streams, and its terminal."""

from __future__ import annotations

from dataclasses import dataclass

from pelagos_core.errors import PelagosError
from pelagos_core.isolation import terminal
from pelagos_core.isolation.operation import Operation
from pelagos_core.isolation.state import CONTAINER, CONTROL, ERRORS, INPUT, MASTER, OUTPUT, ROOT
from pelagos_core.native.instruction import Instruction, Slot, instruction
from pelagos_core.native.process import Failure
from pelagos_core.rootfs import mount_points

STREAMS = (INPUT, OUTPUT, ERRORS)
FIRST = 3
"""The number of the first descriptor after MoveDescriptors."""

_CONSOLE = "/dev/console"

OF_INIT = (CONTROL, *STREAMS)
OF_JOINING = (*OF_INIT, CONTAINER)


@dataclass(frozen=True, slots=True)
class MoveDescriptors(Operation):
    """Move the descriptors in these slots to FIRST and up, and close all others."""

    slots: tuple[str, ...]

    def reads(self) -> tuple[str, ...]:
        return self.slots

    def writes(self) -> tuple[str, ...]:
        return self.slots

    def describe(self) -> str:
        return f"move own descriptors to {FIRST} to {FIRST + len(self.slots) - 1}, close all others"

    def instructions(self) -> tuple[Instruction, ...]:
        return (
            # Duplicated above the targets first: else one could be overwritten before it is copied.
            *(instruction("lift_slot", Slot(slot), FIRST + len(self.slots)) for slot in self.slots),
            *(instruction("place_slot", Slot(slot), number) for number, slot in enumerate(self.slots, FIRST)),
            instruction("close_from", FIRST + len(self.slots)),
        )


@dataclass(frozen=True, slots=True)
class KeepDescriptors(Operation):
    """Close all descriptors but the standard streams and those in these slots."""

    slots: tuple[str, ...]

    def reads(self) -> tuple[str, ...]:
        return self.slots

    def describe(self) -> str:
        return "close all other descriptors"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("keep_slots", *map(Slot, self.slots)),)


@dataclass(frozen=True, slots=True)
class CutStreams(Operation):
    """Use /dev/null as all three standard streams."""

    def describe(self) -> str:
        return "no standard streams"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("cut_streams"),)


@dataclass(frozen=True, slots=True)
class EndWithParent(Operation):
    """Exit when the parent exits, or if it has exited before. A change of credentials clears this (prctl(2)).

    slot: of a pipe or socket whose other end only the parent has.
    """

    slot: str

    def reads(self) -> tuple[str, ...]:
        return (self.slot,)

    def describe(self) -> str:
        return "end with the parent"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("end_with_parent", Slot(self.slot)),)


@dataclass(frozen=True, slots=True)
class NoInput(Operation):
    """Use an empty input, for a guest whose policy allows no input."""

    def reads(self) -> tuple[str, ...]:
        return (INPUT,)

    def describe(self) -> str:
        return "no input"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("read_nothing", Slot(INPUT)),)


@dataclass(frozen=True, slots=True)
class UseOwnTerminal(Operation):
    """Use a terminal of the container's devpts as all streams instead of the host's, if there is a devpts.

    uid: of its owner. console: whether to bind it on /dev/console.
    """

    uid: int
    console: bool

    def reads(self) -> tuple[str, ...]:
        return (ROOT, *STREAMS)

    def writes(self) -> tuple[str, ...]:
        return (MASTER,)

    def describe(self) -> str:
        return f"a terminal of the container's own for user {self.uid}{', also /dev/console' if self.console else ''}"

    def instructions(self) -> tuple[Instruction, ...]:
        slots, console = map(Slot, (MASTER, *STREAMS)), _CONSOLE if self.console else ""
        return (instruction("use_own_terminal", self.uid, *slots, console),)

    def failure(self, failed: Failure) -> PelagosError:
        return mount_points.failure(failed) or Operation.failure(self, failed)


@dataclass(frozen=True, slots=True)
class GiveStreams(Operation):
    """Change the owner of the streams, so that a native program can open /dev/stderr etc., as in runc."""

    uid: int

    def reads(self) -> tuple[str, ...]:
        return STREAMS

    def describe(self) -> str:
        return f"give the streams to user {self.uid}"

    def instructions(self) -> tuple[Instruction, ...]:
        return tuple(instruction("give_slot", Slot(slot), self.uid) for slot in STREAMS)


@dataclass(frozen=True, slots=True)
class TakeTerminal(Operation):
    """Make the output's terminal the controlling one. Not the input's, since a policy may have replaced the input.

    The terminal's signals are blocked until ReportSignals: for the first process of a pid namespace the kernel drops
    unblocked signals without a handler.
    """

    def reads(self) -> tuple[str, ...]:
        return (OUTPUT,)

    def describe(self) -> str:
        return "take the controlling terminal"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("block_signals", terminal.SIGNAL_MASK), instruction("take_terminal", Slot(OUTPUT)))


@dataclass(frozen=True, slots=True)
class ReportSignals(Operation):
    """Install a handler that sends each signal of the terminal to the daemon as one byte, so that no key is lost.

    The socket is O_NONBLOCK afterwards. A native program's execve(2) resets the handlers.
    """

    def reads(self) -> tuple[str, ...]:
        return (CONTROL,)

    def describe(self) -> str:
        return "report the terminal's signals"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("report_signals", terminal.SIGNAL_MASK, Slot(CONTROL)),)


@dataclass(frozen=True, slots=True)
class UseStreams(Operation):
    """Move the streams to descriptors 0 to 2."""

    def reads(self) -> tuple[str, ...]:
        return STREAMS

    def describe(self) -> str:
        return "streams to descriptors 0 to 2"

    def instructions(self) -> tuple[Instruction, ...]:
        return tuple(instruction("use_slot", Slot(slot), target) for target, slot in enumerate(STREAMS))


@dataclass(frozen=True, slots=True)
class LeaveTerminal(Operation):
    """Release the terminal before the process ends: else the kernel hangs it up, and unread output is lost."""

    def describe(self) -> str:
        return "leave the terminal"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("ignore_signals", terminal.SIGNAL_MASK), instruction("leave_terminal"))
