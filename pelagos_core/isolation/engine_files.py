"""An engine's own files in its engine root: there until it opens the module, and then gone.

A guest has no code that runs before its engine has opened the module, and an engine that is a
program has what it needs by then: its libraries are mapped, its own files read. So the module is
kept back by a lease (fcntl(2), F_SETLEASE): the kernel holds the engine's open(2) until the process
that has the lease gives it up, and this process takes the files away before. From there on nothing is
left above the guest's root but that root and the copy of the module, which is the guest's own:
whatever an engine does with links and `..`, it comes to nothing else.

No process has a privilege for that any more. But the files are mounted in one directory, and a directory
with mounts in it can be renamed with no more than a right to write to its file system (rename(2) refuses a
mount point itself only). The root in which the engine sees it is read-only; the process holds a
descriptor of the whole file system, of which that root is a part, and moves the directory out.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import threading
from pathlib import PurePosixPath

from pelagos_core.errors import FailedPrecondition
from pelagos_core.native.instruction import Slot, instruction
from pelagos_core.oci import Mount
from pelagos_core.plugin.program import ENGINE_FILES, GUEST_ROOT, SCRATCH, Program
from pelagos_core.rootfs import device_nodes, mounts
from pelagos_core.rootfs.mounts import Mounting

SHOWN = "root"
"""The part of an engine root's file system that is its root."""

_GONE = "gone"
_F_SETOWN_EX, _F_OWNER_TID = 15, 0  # <asm-generic/fcntl.h>; not in the fcntl module
_SCRATCH = Mount(f"{ENGINE_FILES}{SCRATCH}", "tmpfs", "scratch", ("nosuid", "nodev", "noexec", "mode=1777", "size=16m"))
# For whichever user the process will have. In the root, which is read-only, none can write all the same.
_WRITABLE = 0o777


def showing(surroundings: Slot, program: Program) -> tuple[Mounting, ...]:
    """Mount a program's files in an engine root, where `take_away` can reach them, before the root is made read-only.

    surroundings: of that root, as `EncloseRoot` has left them. Each file is mounted below ENGINE_FILES, and a link
    leads there from where the program looks for it.
    """
    place = Mounting(_SCRATCH, (instruction("make_directory_in", surroundings, _GONE, _WRITABLE),))
    files = (
        mounts.mounting(Mount(f"{ENGINE_FILES}{file.target}", "bind", file.source, ("ro", "nosuid", "nodev")))
        for file in program.files
    )
    links = tuple(device_nodes.link(target, f"{ENGINE_FILES}{target}") for target in _links(program))
    writable = tuple(
        instruction("change_mode_in", surroundings, f"{SHOWN}{directory}", _WRITABLE)
        for directory in ("/", ENGINE_FILES, *_directories(program))
    )
    return (place, *files, mounts.mounting(_SCRATCH), Mounting(_SCRATCH, (*links, *writable)))


def take_away(surroundings: int, program: Program) -> None:
    """Leave nothing of a program's files in the engine root. In the init process. Raises OSError.

    Links to what is at the top of the container's root take their place, so that an absolute link of
    the container that an engine has the kernel follow leads to where it leads in the container.
    """
    os.rename(f"{SHOWN}{ENGINE_FILES}", f"{_GONE}/files", src_dir_fd=surroundings, dst_dir_fd=surroundings)
    for target in _links(program):
        os.unlink(f"{SHOWN}{target}", dir_fd=surroundings)
    for directory in reversed(_directories(program)):
        with contextlib.suppress(OSError):  # the module is in it
            os.rmdir(f"{SHOWN}{directory}", dir_fd=surroundings)
    with contextlib.suppress(PermissionError):  # a root that its own user may not list
        for name in os.listdir(GUEST_ROOT):
            with contextlib.suppress(FileExistsError):  # the module's own, or the root itself
                os.symlink(f"{GUEST_ROOT}/{name}", f"{SHOWN}/{name}", dir_fd=surroundings)


def keep_module_back(surroundings: int, program: Program, module: str) -> None:
    """From now on have the program's files taken away before anything opens the module.

    surroundings: of the engine root, which belong to this from now on. module: its path there.
    In the init process, as the container's user, after the seal and before Start. After
    /proc/sys/fs/lease-break-time, 45 s, the kernel lets the open(2) go on. Raises FailedPrecondition.

    A thread waits for the signal. A handler is no choice: Python runs it between two bytecodes, so one
    that comes just before the main thread enters a system call waits until that call returns, and the
    call waits for the engine.
    """
    file = os.open(module, os.O_RDONLY | os.O_CLOEXEC)
    refused: list[OSError] = []
    held = threading.Event()

    def wait_for_open() -> None:
        try:
            # Here alone: a program that the main thread starts inherits what is blocked there.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})
            # To this thread; F_SETLEASE leaves an owner that is set (fcntl(2)).
            fcntl.fcntl(file, _F_SETOWN_EX, struct.pack("ii", _F_OWNER_TID, threading.get_native_id()))
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError as error:
            refused.append(error)
            return
        finally:
            held.set()
        try:
            # rt_sigtimedwait(2), which a profile of the spec's may lack.
            signal.sigwait({signal.SIGIO})
            take_away(surroundings, program)
        except BaseException as error:  # noqa: BLE001 (what is not taken away must not be in a guest's reach)
            os.write(2, f"pelagos: the engine's files cannot be taken away: {error}\n".encode())
            os._exit(1)
        os.close(surroundings)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        os.close(file)

    threading.Thread(target=wait_for_open, daemon=True).start()
    held.wait()
    if refused:
        raise FailedPrecondition(
            f"{module!r} cannot be kept back from {program.source!r}: no lease (fcntl(2)): {refused[0].strerror}"
        )


def _links(program: Program) -> list[str]:
    """Where links are made; what lies in a directory of the program's is reached by the link to that."""
    targets = {SCRATCH, *(file.target for file in program.files)}
    return sorted(each for each in targets if not any(each.startswith(f"{other}/") for other in targets))


def _directories(program: Program) -> list[str]:
    """The directories that links are in, each after those that it is in; not `/`."""
    return sorted({str(each) for link in _links(program) for each in PurePosixPath(link).parents} - {"/"})
