"""The plan of the compiler's process: an empty root with the module and its output only.

`cache.compiler` executes it and describes the reasons.
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
"""The slots that the parent fills: the module, the output file, and the writing end of a pipe to the parent."""

_OPEN_FILES = 64
_OOM_SCORE = 1000  # the OOM killer ends this process first, in the group and on the node


def compiler_plan(user: User, memory: int, program: Program | None) -> tuple[Operation, ...]:
    """The steps of a compiler's process up to its system call filter, which follows the start of a program.

    The process was cloned into a new pid namespace. user: to switch to. memory: limit in bytes, which includes the
    files of its root. program: to start, with its files; None if the engine is a library.
    """
    layers = (Mount("/", "tmpfs", "compiler", ("nosuid", "nodev", "mode=755", f"size={memory}")),) if program else ()
    limits = (
        Rlimit("RLIMIT_CORE", 0, 0),
        Rlimit("RLIMIT_NOFILE", _OPEN_FILES, _OPEN_FILES),
        Rlimit("RLIMIT_DATA", memory, memory),  # for hosts without a control group for compilers
    )
    return (
        CutStreams(),
        KeepDescriptors((MODULE, COMPILED, REPORT)),
        EndWithParent(REPORT),
        SetOomScore(_OOM_SCORE, required=False),
        SetUmask(0),
        EnterNamespaces((), ("mount", "network", "ipc", "uts"), propagation=syscalls.MS_PRIVATE),
        AssembleRoot(layers),
        *(_furnishing(program, memory) if program else ()),
        MakeRootReadonly(),
        ChangeRoot(),
        SetRlimits(limits),
        BecomeUser(user, Capabilities()),
        ForbidNewPrivileges(),
        EndWithParent(REPORT),  # again: the change of credentials has cleared it (prctl(2))
    )


def _furnishing(program: Program, memory: int) -> tuple[Operation, ...]:
    """Mount a program's files read-only, the module, and SCRATCH, a tmpfs of limited size."""
    options = ("nosuid", "nodev", "noexec", "mode=1777", f"size={memory}")
    return (
        *(MountVolume(Mount(file.target, "bind", file.source, ("ro", "nosuid", "nodev"))) for file in program.files),
        MountVolume(Mount(SCRATCH, "tmpfs", "scratch", options)),
        CopyModule(MODULE, COMPILED_MODULE),
    )
