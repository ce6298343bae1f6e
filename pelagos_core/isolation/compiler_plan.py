"""The plan of the process that compiles: an empty place, with nothing but the module and its output.

What it may not have, and why, is in `cache.compiler`, whose process carries it out.
"""

from __future__ import annotations

from pelagos_core.isolation.engine_root import CopyModule
from pelagos_core.isolation.entering import EnterNamespaces
from pelagos_core.isolation.filesystem import AssembleRoot, ChangeRoot, MakeRootReadonly, MountVolume
from pelagos_core.isolation.identity import BecomeUser, ForbidNewPrivileges, SetOomScore, SetRlimits, SetUmask
from pelagos_core.isolation.operation import Operation
from pelagos_core.isolation.streams import CutStreams, EndWithParent, KeepDescriptors
from pelagos_core.linux import syscalls
from pelagos_core.oci import Capabilities, Mount, Rlimit, User
from pelagos_core.plugin.program import COMPILED_MODULE, SCRATCH, Program

MODULE, COMPILED, REPORT = "module", "output", "report"
"""The slots that its parent fills: what is compiled, where the code goes, and a pipe whose other end it has."""

_OPEN_FILES = 64
_FIRST_TO_GO = 1000  # when memory runs out, here or on the node


def compiler_plan(user: User, memory: int, program: Program | None) -> tuple[Operation, ...]:
    """The steps of a compiler's process, up to its system call filter, which comes once a program is started.

    It was cloned into a pid namespace of its own. user: what it becomes. memory: the limit in bytes, for what is in
    its root too. program: what it starts, with its files; None if the engine is a library.
    """
    layers = (Mount("/", "tmpfs", "compiler", ("nosuid", "nodev", "mode=755", f"size={memory}")),) if program else ()
    limits = (
        Rlimit("RLIMIT_CORE", 0, 0),
        Rlimit("RLIMIT_NOFILE", _OPEN_FILES, _OPEN_FILES),
        Rlimit("RLIMIT_DATA", memory, memory),  # where there is no control group to hold it
    )
    return (
        CutStreams(),
        KeepDescriptors((MODULE, COMPILED, REPORT)),
        EndWithParent(REPORT),
        SetOomScore(_FIRST_TO_GO, required=False),
        SetUmask(0),
        EnterNamespaces((), ("mount", "network", "ipc", "uts"), propagation=syscalls.MS_PRIVATE),
        AssembleRoot(layers),
        *(_furnishing(program, memory) if program else ()),
        MakeRootReadonly(),
        ChangeRoot(),
        SetRlimits(limits),
        BecomeUser(user, Capabilities()),
        ForbidNewPrivileges(),
        EndWithParent(REPORT),  # the kernel has forgotten it when the credentials changed
    )


def _furnishing(program: Program, memory: int) -> tuple[Operation, ...]:
    """A program's files, read-only, the module, and a SCRATCH of bounded size."""
    options = ("nosuid", "nodev", "noexec", "mode=1777", f"size={memory}")
    return (
        *(MountVolume(Mount(file.target, "bind", file.source, ("ro", "nosuid", "nodev"))) for file in program.files),
        MountVolume(Mount(SCRATCH, "tmpfs", "scratch", options)),
        CopyModule(MODULE, COMPILED_MODULE),
    )
