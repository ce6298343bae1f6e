"""The steps of an engine root: an engine that is a program gets a root of its own around the container's.

They are planned once a backend has named its program, in the init process. See `engine_files` for what
becomes of the program's files.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, replace
from typing import ClassVar

from pelagos_core import reasons
from pelagos_core.errors import PelagosError
from pelagos_core.isolation import engine_files
from pelagos_core.isolation.filesystem import MakeRootReadonly, RootOperation
from pelagos_core.isolation.operation import Close, Operation
from pelagos_core.isolation.state import CODE_DIRECTORY, ENGINE_ROOT, ENTRYPOINT, ROOT, State
from pelagos_core.native.instruction import Instruction, Slot, instruction
from pelagos_core.native.process import Failure
from pelagos_core.plugin.entrypoint import CODE, Entrypoint
from pelagos_core.plugin.program import GUEST_ROOT, Program
from pelagos_core.rootfs import mounts
from pelagos_core.rootfs.mount_options import ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID
from pelagos_core.rootfs.mounts import Mounting

_CODE = "code"


def assembling(program: Program, path: str, uid: int, *, compiled: bool) -> tuple[Operation, ...]:
    """The steps that put the container's root into an engine root for a program.

    path: from `module_path`. uid: of the process, as the file system of that root knows it. compiled: what has
    been compiled of the entry point takes its place; its directory is in the slot CODE_DIRECTORY.
    """
    fetch: tuple[Operation, ...] = (OpenCode(), Close(CODE_DIRECTORY)) if compiled else ()
    source = _CODE if compiled else ENTRYPOINT
    close = (Close(_CODE),) if compiled else ()
    return (
        EncloseRoot(),
        ShowProgram(program),
        *fetch,
        CopyModule(source, path, uid),
        *close,
        MakeRootReadonly(),
    )


def module_path(program: Program, path: str) -> str:
    """Where the program finds its copy of the entry point: where a guest would see it.

    A program names its guest by the path that it is given. path: of the entry point, in the container.
    """
    path = posixpath.normpath(posixpath.join("/", path))
    clash = path == "/" or any(
        f"{path}/".startswith(f"{each}/") or each.startswith(f"{path}/") for each in (GUEST_ROOT, *program.targets)
    )
    return "/module.wasm" if clash else path


def entered(entrypoint: Entrypoint, path: str, *, compiled: bool) -> Entrypoint:
    """The entry point as it is for the program: at its path is the code, if there is any."""
    return replace(entrypoint, file_path=path, code=path if compiled else "")


@dataclass(frozen=True, slots=True)
class EncloseRoot(RootOperation):
    """Put an empty root around the container's, which is at GUEST_ROOT in it from now on.

    The slot has the file system around it, which can be written to: the new root is its directory
    `engine_files.SHOWN`, and what is in that can be moved out.
    """

    def writes(self) -> tuple[str, ...]:
        return (ROOT, ENGINE_ROOT)

    def describe(self) -> str:
        return f"engine root, with the container's at {GUEST_ROOT}"

    def instructions(self) -> tuple[Instruction, ...]:
        # What is inside cannot be executed: it is a guest's, and a guest is no native program. Below that form of it
        # is the root as it was, for native programs that join later.
        plain, sealed = Slot("plain root"), Slot("sealed root")
        return (
            instruction("copy_tree", plain, "/", 1),
            instruction("copy_tree", sealed, "/", 1),
            instruction("change_tree", sealed, 1, ATTR_NOEXEC, 0, 0),
            instruction("make_tmpfs", Slot(ENGINE_ROOT), "engine", "755", "", ATTR_NODEV | ATTR_NOSUID),
            instruction("surround_root", Slot(ENGINE_ROOT), engine_files.SHOWN),
            instruction("attach_tree", plain, GUEST_ROOT),
            instruction("attach_tree", sealed, GUEST_ROOT),
        )


@dataclass(frozen=True, slots=True)
class ShowProgram(RootOperation):
    """Mount a program's files in the engine root, where they can be taken away."""

    program: Program

    def reads(self) -> tuple[str, ...]:
        return (ROOT, ENGINE_ROOT)

    def describe(self) -> str:
        return f"{len(self.program.files)} files of {self.program.source}"

    def _mountings(self) -> tuple[Mounting, ...]:
        return engine_files.showing(Slot(ENGINE_ROOT), self.program)

    def instructions(self) -> tuple[Instruction, ...]:
        return tuple(each for mounting in self._mountings() for each in mounting.instructions)

    def failure(self, failed: Failure) -> PelagosError:
        return mounts.failure(self._mountings(), failed) or RootOperation.failure(self, failed)


@dataclass(frozen=True, slots=True)
class OpenCode(Operation):
    """Open the compiled code in its directory, which no path leads to."""

    reason: ClassVar[str] = reasons.MOUNT

    def reads(self) -> tuple[str, ...]:
        return (CODE_DIRECTORY,)

    def writes(self) -> tuple[str, ...]:
        return (_CODE,)

    def describe(self) -> str:
        return "open the compiled code"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("open_file_in", Slot(CODE_DIRECTORY), CODE, Slot(_CODE)),)


@dataclass(frozen=True, slots=True)
class CopyModule(RootOperation):
    """Copy what is in a slot to a path of the root, readable by every user.

    uid: of the copy's owner; -1 for the process'.
    """

    source: str
    path: str
    uid: int = -1

    def reads(self) -> tuple[str, ...]:
        return (ROOT, self.source)

    def describe(self) -> str:
        return f"copy the {self.source} to {self.path}{'' if self.uid < 0 else f' for user {self.uid}'}"

    def instructions(self) -> tuple[Instruction, ...]:
        directory, name = posixpath.split(self.path)
        return (instruction("copy_file", Slot(self.source), directory, name, self.uid),)


@dataclass(frozen=True, slots=True)
class KeepModuleBack(Operation):
    """Have a program's files taken away before anything opens its module."""

    program: Program
    path: str

    def reads(self) -> tuple[str, ...]:
        return (ENGINE_ROOT,)

    def describe(self) -> str:
        return f"take the program's files away before {self.path} is opened"

    def execute(self, state: State) -> None:
        engine_files.keep_module_back(state.take(ENGINE_ROOT), self.program, self.path)
