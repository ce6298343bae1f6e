"""The second stage of an init process: a process in the user namespace, after the steps with the host's privileges.

The first process assembles the root file system with the privileges of the host. A mount or pid namespace always
belongs to the user namespace in which it was created. So the first process clones a second one into the user
namespace, which creates the other namespaces there. CLONE_PARENT makes it a child of the daemon.

    first: assemble, clone, write the maps, report the pid, exit
    second: wait for the byte of the first, then for GO from the daemon

Source: user_namespaces(7), clone(2).
"""

from __future__ import annotations

from dataclasses import dataclass

from pelagos_core.errors import PelagosError, PermissionDenied
from pelagos_core.isolation.entering import joining, not_joined
from pelagos_core.isolation.operation import Operation
from pelagos_core.isolation.state import CONTROL, State
from pelagos_core.linux import namespaces, syscalls
from pelagos_core.linux.user_namespaces import map_text
from pelagos_core.native.instruction import Instruction, instruction
from pelagos_core.native.process import Failure
from pelagos_core.oci import IdMaps, Namespace


@dataclass(frozen=True, slots=True)
class SecondStageClone(Operation):
    """Clone the second process, which executes all further steps; the first one exits here.

    user: its user namespace, new or with a path. id_maps: for a new one.
    pid: its pid namespace, new or with a path; None: the pid namespace of the first process.
    """

    user: Namespace
    id_maps: IdMaps
    pid: Namespace | None

    def reads(self) -> tuple[str, ...]:
        return (CONTROL,)

    def describe(self) -> str:
        pid = "the shim's" if self.pid is None else self.pid.path or "a new"
        return f"second process: {self.user.path or 'a new'} user namespace, {pid} pid namespace"

    def details(self) -> str:
        return "; ".join(self.id_maps.lines())

    def instructions(self) -> tuple[Instruction, ...]:
        joined, new = self._namespaces()
        maps = ("", "") if self.user.path else (map_text(self.id_maps.groups), map_text(self.id_maps.users))
        flags = sum(namespaces.CLONE_FLAGS[each.type] for each in new)
        return (*map(joining, joined), instruction("begin_second_stage", flags, *maps))

    def _namespaces(self) -> tuple[list[Namespace], list[Namespace]]:
        """The namespaces with a path, and the new ones. Joining by path needs the host's privileges."""
        both = [each for each in (self.pid, self.user) if each is not None]
        return [each for each in both if each.path], [each for each in both if not each.path]

    def failure(self, failed: Failure) -> PelagosError:
        joined, _ = self._namespaces()
        if failed.step < len(joined):
            return not_joined(joined[failed.step], failed)
        if failed.stage == "map_ids":
            text = map_text(self.id_maps.groups if failed.detail == "gid_map" else self.id_maps.users)
            return PermissionDenied(f"{failed.detail} {text.strip()!r}: {failed.strerror}")
        return Operation.failure(self, failed)

    def execute(self, state: State) -> None:
        """Execute the step, with the interpreter's handling of a fork. Returns in the second process only."""
        failed: Failure | None = None

        def clone() -> int:
            nonlocal failed
            failed = state.descriptors.run(self.instructions())
            return -1 if failed else 0

        syscalls.between_hooks(clone)
        if failed:
            raise self.failure(failed)
