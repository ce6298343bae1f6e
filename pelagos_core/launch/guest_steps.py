"""The steps of a Wasm guest in a process without an interpreter: entry point, engine, run.

The engine's interface is `struct pelagos_guest` (native/include/pelagos_engine.h).
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from typing import ClassVar

from pelagos_core import reasons
from pelagos_core.backends.registry import Backend
from pelagos_core.errors import Internal, InvalidArgument, PelagosError, with_reason
from pelagos_core.isolation.operation import Operation
from pelagos_core.isolation.state import CODE_DIRECTORY, CONTROL, ENTRYPOINT, ROOT
from pelagos_core.launch import preopens
from pelagos_core.native.instruction import Instruction, Slot, instruction
from pelagos_core.native.process import Failure
from pelagos_core.plugin import sockets
from pelagos_core.plugin.entrypoint import CODE
from pelagos_core.plugin.hookspecs import UnusableCode
from pelagos_core.plugin.kind import MODULE_MAGIC, NATIVE_MAGIC
from pelagos_core.plugin.limits import MEMORY_RESERVE, REFUSAL, Limits

TRAP = 134  # 128 + SIGABRT, as for an aborted native program; 137 is that of an OOM kill
TRAPPED = "pelagos: the guest has trapped"
_MEMORY_LIMIT = "memory limit"
"""The slot of the control file of the container's memory limit."""


class OtherEngineError(Exception):
    """The process has loaded an engine other than that of the chosen backend."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend.name)
        self.backend = backend


class NotBareError(Exception):
    """A bare process cannot continue; one with an interpreter can, or reports the error."""


class MissingError(Exception):
    """The entry point is no file of the container.

    error: the error of Create; None if only a process with an interpreter can determine it.
    """

    def __init__(self, error: PelagosError | None = None) -> None:
        super().__init__()
        self.error = error


@dataclass(frozen=True, slots=True)
class FindEntrypoint(Operation):
    """Open the first existing path of these, and describe it to the daemon."""

    reason: ClassVar[str] = reasons.ENTRYPOINT
    paths: tuple[str, ...]

    def reads(self) -> tuple[str, ...]:
        return (ROOT, CONTROL)

    def writes(self) -> tuple[str, ...]:
        return (ENTRYPOINT,)

    def describe(self) -> str:
        return f"find the entry point: {', '.join(self.paths)}"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("find_entrypoint", Slot(ENTRYPOINT), *NATIVE_MAGIC, MODULE_MAGIC, *self.paths),)

    def failure(self, failed: Failure) -> PelagosError:
        if failed.error in (errno.ENOENT, errno.ENOTDIR):
            raise MissingError
        raise NotBareError


@dataclass(frozen=True, slots=True)
class ReceivePlan(Operation):
    """Receive the next part of the plan and execute it."""

    def reads(self) -> tuple[str, ...]:
        return (CONTROL,)

    def describe(self) -> str:
        return "wait for the rest of the plan"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("receive_plan"),)


@dataclass(frozen=True, slots=True)
class OpenMemoryLimit(Operation):
    """Open the control file of the memory limit, which is read at each growth of the guest's memory."""

    is_common: ClassVar[bool] = False
    path: str

    def writes(self) -> tuple[str, ...]:
        return (_MEMORY_LIMIT,)

    def describe(self) -> str:
        return f"open {self.path}"

    def instructions(self) -> tuple[Instruction, ...]:
        slot, (first, *between, last) = Slot(_MEMORY_LIMIT), REFUSAL
        texts = (f"pelagos: {first}", *between, with_reason(last, reasons.MEMORY))
        limit = instruction("guest_memory_limit", slot, MEMORY_RESERVE, *texts)
        return (instruction("open_file", self.path, slot), limit)


@dataclass(frozen=True, slots=True)
class DescribeGuest(Operation):
    """Set the arguments of the engine for the guest.

    calls: of a module, the functions to call in order; of a component, the path of names to its function.
    memories: initial size of each linear memory, in bytes. cwd: of the spec, resolved into PWD unless it is `/`.
    network: whether it has one. sockets: the imports of functions that use the network first (`sockets.asked_for`).
    opened: as in LoadGuest.
    """

    is_common: ClassVar[bool] = False
    arguments: tuple[str, ...]
    environment: tuple[str, ...]
    directories: tuple[tuple[str, str], ...]
    calls: tuple[str, ...]
    is_component: bool
    memories: tuple[int, ...]
    limits: Limits
    cwd: str
    network: bool = False
    sockets: tuple[str, ...] = ()
    opened: bool = True

    def reads(self) -> tuple[str, ...]:
        return (ROOT, ENTRYPOINT) if self.opened else (ROOT,)

    def describe(self) -> str:
        return f"a {'component' if self.is_component else 'module'}; call {', '.join(self.calls)}"

    def details(self) -> str:
        return f"with {len(self.arguments)} words and {len(self.environment)} variables"  # may be secrets

    def instructions(self) -> tuple[Instruction, ...]:
        limits, cwd = self.limits, preopens.working_directory(self.cwd)
        none = -1
        return (
            instruction("guest_arguments", *self.arguments),
            instruction("guest_calls", *self.calls),
            instruction("guest_environment", *self.environment),
            *([instruction("guest_working_directory", cwd)] if cwd else []),
            *(instruction("guest_directory", name, path) for name, path in self.directories),
            instruction("guest_is_component", int(self.is_component)),
            instruction(
                "guest_memory",
                struct.pack(f"={len(self.memories)}Q", *self.memories),
                none if limits.memory is None else limits.memory,
            ),
            instruction("guest_fuel", none if limits.fuel is None else limits.fuel),
            instruction("guest_network", int(self.network), *sockets.REFUSAL, sockets.NO_NETWORK, *self.sockets),
            *([instruction("guest_module", Slot(ENTRYPOINT))] if self.opened else []),
        )

    def failure(self, failed: Failure) -> PelagosError:
        if failed.error == errno.E2BIG:
            raise NotBareError  # the library's tables of directories and memories have a fixed size
        return Operation.failure(self, failed)


@dataclass(frozen=True, slots=True)
class LoadGuest(Operation):
    """Let the engine load and check the guest. path: of the entry point, for messages.

    opened: whether the entry point is open; it is not for a Wasm artifact with compiled code.
    """

    reason: ClassVar[str] = reasons.MODULE
    path: str
    compiled: bool
    opened: bool = True

    def reads(self) -> tuple[str, ...]:
        return (*((ENTRYPOINT,) if self.opened else ()), *((CODE_DIRECTORY,) if self.compiled else ()))

    def describe(self) -> str:
        return f"load {self.path}"

    def instructions(self) -> tuple[Instruction, ...]:
        load = instruction("load_guest", Slot(CODE_DIRECTORY), CODE if self.compiled else "")
        return (load, instruction("close_slot", Slot(ENTRYPOINT))) if self.opened else (load,)

    def failure(self, failed: Failure) -> PelagosError:
        if failed.error == errno.ESTALE:
            raise UnusableCode(failed.detail)
        if failed.stage != "load":
            return Internal(f"{self.describe()}: {failed.strerror}", reasons.ISOLATION)
        if failed.error == errno.EINVAL and failed.detail:  # the only error that the guest causes
            return InvalidArgument(f"{self.path!r} {failed.detail}")
        return Internal(f"{self.describe()}: {failed.detail or failed.strerror}", reasons.ENGINE_FAILED)


@dataclass(frozen=True, slots=True)
class WaitForStart(Operation):
    """Send Ready and wait for Start."""

    def reads(self) -> tuple[str, ...]:
        return (CONTROL,)

    def describe(self) -> str:
        return "wait for Start"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("wait_for_start"),)


@dataclass(frozen=True, slots=True)
class RunGuest(Operation):
    """Run the guest.

    warnings: lines for its stderr before the run. last: whether it is the last step.
    """

    warnings: tuple[str, ...] = ()
    last: bool = True

    def describe(self) -> str:
        return "run the guest"

    def instructions(self) -> tuple[Instruction, ...]:
        run = instruction("run_guest", TRAP, with_reason(TRAPPED, reasons.TRAP), int(not self.last))
        return (*(instruction("say", line) for line in self.warnings), run)
