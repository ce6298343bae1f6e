"""The plan of a bare init process: one without an interpreter, forked by a nursery.

The plan has two parts. The first part ends with the entry point, which the process describes to the daemon. If the
daemon has a record of the module (by its digest), it sends the second part. If not, it forks an init process
with an interpreter (`init`), in which backends inspect the file. Pure: no system calls.
"""

from __future__ import annotations

from collections.abc import Iterable

from pelagos_core.backends import native
from pelagos_core.cache.known_module import KnownGuest
from pelagos_core.errors import Internal, PelagosError
from pelagos_core.isolation.entering import EnterEmptyNetwork, LeaveNetwork
from pelagos_core.isolation.operation import Close, Operation
from pelagos_core.isolation.plan import Plan
from pelagos_core.isolation.state import ENTRYPOINT
from pelagos_core.isolation.streams import OF_JOINING
from pelagos_core.launch import home, kept_steps, nursery, preopens
from pelagos_core.launch.guest_steps import (
    DescribeGuest,
    FindEntrypoint,
    LoadGuest,
    NotBareError,
    OpenMemoryLimit,
    ReceivePlan,
    RunGuest,
    WaitForStart,
)
from pelagos_core.launch.init import JoinTarget
from pelagos_core.launch.kept_steps import TooManyArgumentsError
from pelagos_core.launch.messages import Found, Stopped
from pelagos_core.launch.nursery import CloneOptions
from pelagos_core.launch.program_steps import ChooseProgram, ExecuteProgram, HandOverTerminal, SendFile
from pelagos_core.linux import syscalls
from pelagos_core.native import library
from pelagos_core.native.instruction import SlotNumbers
from pelagos_core.native.process import Failure
from pelagos_core.oci import Spec
from pelagos_core.plugin import linking, sockets
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.entrypoint import candidates, split_func
from pelagos_core.plugin.limits import Limits


class BareInit:
    """The parts of the plan of one process, encoded, and the decoding of its errors."""

    def __init__(self, bundle: Bundle, plan: Plan, limits: Limits, *, finds: bool = True) -> None:
        """finds: whether the entry point is a file of the container, which the process finds."""
        self._finds = finds
        self._bundle, self._plan, self._limits = bundle, plan, limits
        self._process = bundle.spec.process
        self._numbers = SlotNumbers()
        self._parts: list[tuple[Operation, ...]] = []
        self._paths = tuple(candidates(self._process))
        self._func = split_func(self._process.args[0])[1]

    @staticmethod
    def suffices_for(spec: Spec) -> bool:
        """Whether a process without an interpreter may be enough for this spec.

        It is not if the init process runs hooks, or if a function has arguments: Python converts them by its type.
        """
        args = spec.process.args
        has_arguments = len(args) > 1 and not linking.is_main(split_func(args[0])[1])
        return not (spec.hooks.while_creating or spec.hooks.start_container or has_arguments)

    def clone_options(self, target: JoinTarget | None) -> CloneOptions:
        """The options for clone(2): pid namespace and cgroup. target: the container to join, or None."""
        if target is not None:
            return CloneOptions(beside=target.pidfd)
        # With a second stage the second process enters the pid namespace.
        pid, cgroup = None if self._plan.second_stage else self._bundle.spec.namespace("pid"), self._plan.cgroup
        return CloneOptions(
            syscalls.CLONE_NEWPID if pid and not pid.path else 0,
            cgroup.paths[0] if cgroup.unified else None,
            namespace=pid.path if pid else "",
        )

    def slots(self, descriptors: Iterable[int]) -> dict[int, int]:
        """Assign descriptors to the numbers of their slots.

        descriptors: the process' end of the control socket, its streams, and the container to join, if any.
        """
        return {self._numbers.of(name): fd for name, fd in zip(OF_JOINING, descriptors, strict=False)}

    def number(self, slot: str) -> int:
        """The number of a slot."""
        return self._numbers.of(slot)

    def first(self) -> bytes:
        """The first part, up to the entry point."""
        plan = self._plan
        second = (plan.second_stage,) if plan.second_stage else ()
        steps = (*plan.begin, *plan.outside, *second, *plan.assemble)
        return self._encoded((*steps, *((FindEntrypoint(self._paths),) if self._finds else ()), ReceivePlan()))

    def path(self, found: Found) -> str:
        """The path of the entry point in the container. Raises Internal for an impossible answer."""
        if not 0 <= found.index < len(self._paths):
            raise Internal("the init process reported an entry point that is not among the requested paths")
        return self._paths[found.index]

    def guest(self, guest: KnownGuest, path: str, *, compiled: bool, network: bool, opened: bool = True) -> bytes:
        """The second part for a Wasm guest.

        path: of the entry point. compiled, network: whether the slots of its code and of an empty network are filled.
        opened: whether the slot of the entry point is filled; it is not for an artifact with compiled code.
        """
        plan = self._plan
        complete = plan.wasm.complete
        if network:
            complete = tuple(EnterEmptyNetwork() if step == LeaveNetwork() else step for step in complete)
        cwd = preopens.warning_in(self._process.cwd) if guest.warns else ""
        warnings = tuple(line for line in (cwd, sockets.vain(path) if guest.vain else "") if line)
        return self._encoded(
            (
                *complete,
                *self._memory_limit(),
                self._described(guest, opened=opened),
                *plan.wasm.seal,
                LoadGuest(path, compiled, opened),
                *plan.ready,
                WaitForStart(),
                *plan.start,
                RunGuest(warnings, last=not plan.end),
                *plan.end,
            )
        )

    def _memory_limit(self) -> tuple[Operation, ...]:
        path = self._plan.cgroup.memory_limit_path if self._limits.memory is not None else None
        return (OpenMemoryLimit(path),) if path else ()

    def _described(self, guest: KnownGuest, *, opened: bool) -> DescribeGuest:
        return DescribeGuest(
            arguments=self._arguments,
            environment=self._bundle.policy.variables(self._process.env),
            directories=tuple((each.name, each.path) for each in preopens.of(self._bundle)),
            calls=guest.calls,
            is_component=guest.is_component,
            memories=guest.memories,
            limits=self._limits,
            cwd=self._process.cwd,
            network=self._bundle.policy.network,
            sockets=guest.sockets,
            opened=opened,
        )

    @property
    def _arguments(self) -> tuple[str, ...]:
        return (split_func(self._process.args[0])[0], *self._process.args[1:])

    @property
    def needs_users(self) -> bool:
        """Whether a native program's HOME must be looked up in the container's /etc/passwd."""
        return home.is_missing(self._process.env)

    def users(self) -> bytes:
        """The part for a native program that completes its root and sends /etc/passwd."""
        steps = (*self._plan.native.complete, HandOverTerminal())
        return self._encoded((*steps, SendFile(home.USERS, home.MAX_BYTES), ReceivePlan()))

    def program(self, path: str, head: bytes, users: bytes | None) -> bytes:
        """The last part for a native program, up to execve(2).

        path: of the entry point. head: its first bytes. users: content of /etc/passwd, if it was sent.
        Raises InvalidArgument for a file that cannot be executed.
        """
        native.check_function(path, self._func)
        environment, plan = self._process.env, self._plan
        if users is not None:
            environment = home.with_home(environment, home.find(users, self._process.user.uid))
        return self._encoded(
            (
                *((*plan.native.complete, HandOverTerminal()) if users is None else ()),
                *plan.native.seal,
                ChooseProgram(path, self._paths, native.interpreter(path, head)),
                Close(ENTRYPOINT),
                *plan.ready,
                WaitForStart(),
                *plan.start,
                ExecuteProgram(self._arguments, environment),
            )
        )

    def error(self, stopped: Stopped) -> PelagosError:
        """Return the error of Create for a stopped plan. Raises MissingError, NotBareError or UnusableCode."""
        try:
            step, stage = stopped.step, library.stages()[stopped.stage]
            for operation in self._parts[stopped.plan]:
                count = len(operation.instructions())
                if step < count:
                    error = operation.failure(Failure(step, stopped.error, stage, stopped.detail))
                    error.reason = error.reason or operation.reason
                    return error
                step -= count
        except (IndexError, OverflowError):
            pass  # not trusted: the engine has read the guest's bytes
        return Internal(f"the init process stopped at an unknown step: error {stopped.error}")

    def _encoded(self, operations: tuple[Operation, ...]) -> bytes:
        """Encode a part of the plan.

        Raises NotBareError if the part exceeds a datagram (many mounts, variables or arguments), or if a step cannot
        be encoded: a process with an interpreter executes the steps before it and reports its error.
        """
        try:
            part = b"".join([kept_steps.encoded(operation, self._numbers) for operation in operations])
        except (PelagosError, TooManyArgumentsError):
            raise NotBareError from None
        if len(part) > nursery.MAX_PLAN:
            raise NotBareError
        self._parts.append(operations)
        return part
