"""The steps of an engine root: the root of an engine that is a program, around the container's root.

The init process builds them when a backend has named its program. `engine_files` removes the program's files later.
"""

from __future__ import annotations

import os
import posixpath
import threading
from dataclasses import dataclass, field, replace
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
_THREAD_SECONDS = 1.0  # for the thread that has removed the files to end


def assembling(program: Program, path: str, uid: int, *, compiled: bool) -> tuple[Operation, ...]:
    """The steps that build an engine root for a program, with the container's root as a directory in it.

    path: from `module_path`. uid: of the process, in the id space of that root's file system. compiled: whether
    compiled code replaces the entry point; its directory is in the slot CODE_DIRECTORY.
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
    """The path of the program's copy of the entry point: the same as in the container.

    A program uses the path as the guest's name. path: of the entry point, in the container.
    """
    path = posixpath.normpath(posixpath.join("/", path))
    clash = path == "/" or any(
        f"{path}/".startswith(f"{each}/") or each.startswith(f"{path}/") for each in (GUEST_ROOT, *program.targets)
    )
    return "/module.wasm" if clash else path


def entered(entrypoint: Entrypoint, path: str, *, compiled: bool) -> Entrypoint:
    """The entry point for the program. compiled: whether the file at `path` is compiled code."""
    return replace(entrypoint, file_path=path, code=path if compiled else "")


@dataclass(frozen=True, slots=True)
class EncloseRoot(RootOperation):
    """Create an empty root and mount the container's root in it, at GUEST_ROOT.

    The slot ENGINE_ROOT gets the writable file system. The new root is its directory `engine_files.SHOWN`, so
    entries of the root can be moved out of it.
    """

    def writes(self) -> tuple[str, ...]:
        return (ROOT, ENGINE_ROOT)

    def describe(self) -> str:
        return f"engine root, with the container's at {GUEST_ROOT}"

    def instructions(self) -> tuple[Instruction, ...]:
        # The container's root is mounted noexec, since a guest is not a native program. Below that mount is one
        # without noexec, for native programs that join later.
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
    """Mount a program's files in the engine root, so that they can be removed later."""

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
    """Open the compiled code in its directory, which has no path in the container."""

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
    """Copy the file in a slot to a path of the root, readable by every user.

    uid: of the copy's owner; -1: the process' user.
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
    """Set a lease by which a program's files are removed before its module can be opened.

    keeps: whether the engine root's file system stays open, for `again`.
    """

    program: Program
    path: str
    keeps: bool = False
    _threads: list[threading.Thread] = field(default_factory=list, compare=False, repr=False)

    def reads(self) -> tuple[str, ...]:
        return (ENGINE_ROOT,)

    def describe(self) -> str:
        return f"remove the program's files before {self.path} is opened"

    def execute(self, state: State) -> None:
        surroundings = os.dup(state.get(ENGINE_ROOT)) if self.keeps else state.take(ENGINE_ROOT)
        self._threads[:] = [engine_files.keep_module_back(surroundings, self.program, self.path)]

    def again(self, state: State) -> None:
        """Repeat the step, for a program that has ended and is executed again. Raises OSError, FailedPrecondition."""
        for thread in self._threads:
            thread.join(_THREAD_SECONDS)
            if thread.is_alive():
                return  # the module was never opened: the files are still mounted, and the lease is still held
        engine_files.put_back(state.descriptors[ENGINE_ROOT], self.program)
        self.execute(state)
