"""The steps on a process' descriptors: where its own are, its streams, and its terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from dataclasses import dataclass

from pelagos_core.isolation import terminal
from pelagos_core.isolation.operation import Operation
from pelagos_core.isolation.state import CONTAINER, CONTROL, ERRORS, INPUT, MASTER, OUTPUT, ROOT, State
from pelagos_core.linux import forked, syscalls

STREAMS = (INPUT, OUTPUT, ERRORS)
FIRST = 3
"""The number of the first descriptor after MoveDescriptors."""

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

    def execute(self, state: State) -> None:
        # Duplicate above the targets first, so that none is overwritten before it is copied.
        copies = [fcntl.fcntl(state.get(slot), fcntl.F_DUPFD, FIRST + len(self.slots)) for slot in self.slots]
        for number, (slot, copy) in enumerate(zip(self.slots, copies, strict=True), FIRST):
            os.dup2(copy, number, inheritable=False)
            state.descriptors[slot] = number
        # A fork takes all along that the daemon has open, other containers' streams too: O_CLOEXEC is about execve(2).
        syscalls.close_range(FIRST + len(self.slots))


@dataclass(frozen=True, slots=True)
class KeepDescriptors(Operation):
    """Close all descriptors but the standard streams and those in these slots."""

    slots: tuple[str, ...]

    def reads(self) -> tuple[str, ...]:
        return self.slots

    def describe(self) -> str:
        return "close all other descriptors"

    def execute(self, state: State) -> None:
        forked.close_all_but(*map(state.get, self.slots))


@dataclass(frozen=True, slots=True)
class CutStreams(Operation):
    """Have /dev/null as all three standard streams."""

    def describe(self) -> str:
        return "no standard streams"

    def execute(self, state: State) -> None:
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        os.close(nothing)


@dataclass(frozen=True, slots=True)
class EndWithParent(Operation):
    """End when the parent ends, or has ended. The kernel forgets it when credentials change.

    slot: of a descriptor whose other end only the parent has.
    """

    slot: str

    def reads(self) -> tuple[str, ...]:
        return (self.slot,)

    def describe(self) -> str:
        return "end with the parent"

    def execute(self, state: State) -> None:
        forked.end_with_parent(state.get(self.slot))


@dataclass(frozen=True, slots=True)
class NoInput(Operation):
    """Have nothing to read as the input, for a guest whose policy leaves it none."""

    def reads(self) -> tuple[str, ...]:
        return (INPUT,)

    def describe(self) -> str:
        return "no input"

    def execute(self, state: State) -> None:
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(nothing, state.get(INPUT), inheritable=False)
        os.close(nothing)


@dataclass(frozen=True, slots=True)
class UseOwnTerminal(Operation):
    """Have a terminal of the container's devpts as all streams instead of the daemon's, if there is one.

    uid: of its owner. console: whether it is shown as /dev/console.
    """

    uid: int
    console: bool

    def reads(self) -> tuple[str, ...]:
        return (ROOT, *STREAMS)

    def writes(self) -> tuple[str, ...]:
        return (MASTER,)

    def describe(self) -> str:
        return f"a terminal of the container's own for user {self.uid}{', also /dev/console' if self.console else ''}"

    def execute(self, state: State) -> None:
        pair = terminal.allocate(state.root, self.uid)
        if pair is None:
            return
        state.descriptors[MASTER], slave = pair
        for slot in STREAMS:
            os.dup2(slave, state.get(slot), inheritable=False)
        if self.console:
            tree = syscalls.OPEN_TREE_CLONE | syscalls.AT_EMPTY_PATH
            state.root.put(syscalls.open_tree(slave, "", tree), "/dev/console")
        os.close(slave)


@dataclass(frozen=True, slots=True)
class GiveStreams(Operation):
    """Let a native program's user open its streams by their names, /dev/stderr and the like, as runc does."""

    uid: int

    def reads(self) -> tuple[str, ...]:
        return STREAMS

    def describe(self) -> str:
        return f"give the streams to user {self.uid}"

    def execute(self, state: State) -> None:
        for slot in STREAMS:
            with contextlib.suppress(OSError):  # in a user namespace they are not ours to give
                file = state.get(slot)
                if not stat.S_ISCHR(os.fstat(file).st_mode):
                    os.fchown(file, self.uid, -1)


@dataclass(frozen=True, slots=True)
class TakeTerminal(Operation):
    """Make the output's terminal the controlling one: a policy may have taken the input away."""

    def reads(self) -> tuple[str, ...]:
        return (OUTPUT,)

    def describe(self) -> str:
        return "take the controlling terminal"

    def execute(self, state: State) -> None:
        terminal.take(state.get(OUTPUT))


@dataclass(frozen=True, slots=True)
class ReportSignals(Operation):
    """Have the terminal's signals told to the daemon, from now on, so that no key is lost.

    A native program's execve(2) undoes it.
    """

    def reads(self) -> tuple[str, ...]:
        return (CONTROL,)

    def describe(self) -> str:
        return "report the terminal's signals"

    def execute(self, state: State) -> None:
        terminal.report_signals(state.get(CONTROL))


@dataclass(frozen=True, slots=True)
class UseStreams(Operation):
    """Have the streams as descriptors 0 to 2, and close them where they were."""

    def reads(self) -> tuple[str, ...]:
        return STREAMS

    def describe(self) -> str:
        return "streams to descriptors 0 to 2"

    def execute(self, state: State) -> None:
        for target, slot in enumerate(STREAMS):
            os.dup2(state.get(slot), target)
        # One call for all three: MoveDescriptors has put them side by side.
        syscalls.close_range(state.take(INPUT), state.take(ERRORS))
        state.take(OUTPUT)


@dataclass(frozen=True, slots=True)
class LeaveTerminal(Operation):
    """Give the terminal up before the process ends: else the kernel hangs it up, with what is not read yet."""

    def describe(self) -> str:
        return "leave the terminal"

    def execute(self, state: State) -> None:
        terminal.leave()
