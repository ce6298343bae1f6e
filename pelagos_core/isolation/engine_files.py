"""The files of an engine's program in its engine root. They are removed when the program opens the module.

A guest's code runs only after its engine has opened the module. At that time the program has mapped its libraries
and read its files. The init process holds a lease on the module (fcntl(2), F_SETLEASE): the kernel blocks the
engine's open(2) until the lease is released, and the files are removed before that. Then the engine root
contains only the guest's root and the copy of the module, so symbolic links and `..` lead to no other file.

The process has no privileges to unmount then. But the files are mounted below one directory, and rename(2) of a
directory with mounts below it needs write permission only (it refuses mount points themselves). The engine's root
is read-only. It is a subdirectory of a file system, and the process has a descriptor of the whole file system, by
which it moves the directory out of the root.
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
"""The directory of an engine root's file system that becomes `/`."""

_REMOVED = "removed"
_F_SETOWN_EX, _F_OWNER_TID = 15, 0  # <asm-generic/fcntl.h>; not in the fcntl module
_SCRATCH = Mount(f"{ENGINE_FILES}{SCRATCH}", "tmpfs", "scratch", ("nosuid", "nodev", "noexec", "mode=1777", "size=16m"))
# Writable by any user, since the process' user is not fixed. The root itself is read-only.
_WRITABLE = 0o777


def showing(surroundings: Slot, program: Program) -> tuple[Mounting, ...]:
    """Mount a program's files in an engine root, so that `take_away` can remove them; before the root is read-only.

    surroundings: slot of that root's file system, filled by `EncloseRoot`. Each file is mounted below ENGINE_FILES,
    with a symbolic link to it at the path that the program uses.
    """
    place = Mounting(_SCRATCH, (instruction("make_directory_in", surroundings, _REMOVED, _WRITABLE),))
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
    """Remove a program's files from the engine root. In the init process. Raises OSError.

    They are replaced by symbolic links to the top-level entries of the container's root. So an absolute link in the
    container, which the kernel follows for an engine, has the same target as in the container.
    """
    os.rename(f"{SHOWN}{ENGINE_FILES}", f"{_REMOVED}/files", src_dir_fd=surroundings, dst_dir_fd=surroundings)
    for target in _links(program):
        os.unlink(f"{SHOWN}{target}", dir_fd=surroundings)
    for directory in reversed(_directories(program)):
        with contextlib.suppress(OSError):  # the directory contains the module
            os.rmdir(f"{SHOWN}{directory}", dir_fd=surroundings)
    with contextlib.suppress(PermissionError):  # the user may not list the root
        for name in os.listdir(GUEST_ROOT):
            with contextlib.suppress(FileExistsError):  # the module's directory, or the root itself
                os.symlink(f"{GUEST_ROOT}/{name}", f"{SHOWN}/{name}", dir_fd=surroundings)


def put_back(surroundings: int, program: Program) -> None:
    """Undo `take_away`, for a program that is executed again. In the init process, while no engine runs.

    First it removes the links that `take_away` has created: a path below one would lead into the container's root.
    Raises OSError.
    """
    shown = os.open(SHOWN, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=surroundings)
    try:
        with os.scandir(shown) as entries:
            links = [entry.name for entry in entries if entry.is_symlink()]
        for name in links:
            os.unlink(name, dir_fd=shown)
    finally:
        os.close(shown)
    for directory in _directories(program):
        with contextlib.suppress(FileExistsError):
            os.mkdir(f"{SHOWN}{directory}", dir_fd=surroundings)
    os.rename(f"{_REMOVED}/files", f"{SHOWN}{ENGINE_FILES}", src_dir_fd=surroundings, dst_dir_fd=surroundings)
    for target in _links(program):
        os.symlink(f"{ENGINE_FILES}{target}", f"{SHOWN}{target}", dir_fd=surroundings)


def keep_module_back(surroundings: int, program: Program, module: str) -> threading.Thread:
    """Set the lease: from now on `take_away` runs before any open(2) of the module returns.

    Returns the thread that runs it and then ends.

    surroundings: descriptor of the engine root's file system; the thread closes it. module: its path in the engine
    root. In the init process, as the container's user, after the change of root and before Start. The kernel breaks
    the lease after /proc/sys/fs/lease-break-time, 45 s. Raises FailedPrecondition.

    A thread waits for the signal, since a handler could deadlock: Python runs handlers between bytecodes. If the
    signal arrives just before the main thread enters a system call that waits for the engine, the handler would
    run only after that call.
    """
    file = os.open(module, os.O_RDONLY | os.O_CLOEXEC)
    refused: list[OSError] = []
    held = threading.Event()

    def wait_for_open() -> None:
        try:
            # Blocked in this thread only: a program that the main thread starts inherits the main thread's mask.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})
            # Directs the signal to this thread; F_SETLEASE keeps an owner that is set (fcntl(2)).
            fcntl.fcntl(file, _F_SETOWN_EX, struct.pack("ii", _F_OWNER_TID, threading.get_native_id()))
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError as error:
            refused.append(error)
            return
        finally:
            held.set()
        try:
            # rt_sigtimedwait(2), which the spec's profile may not allow.
            signal.sigwait({signal.SIGIO})
            take_away(surroundings, program)
        except BaseException as error:  # noqa: BLE001 (a guest must not start while the files are reachable)
            os.write(2, f"pelagos: the engine's files cannot be removed: {error}\n".encode())
            os._exit(1)
        os.close(surroundings)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        os.close(file)

    thread = threading.Thread(target=wait_for_open, daemon=True)
    thread.start()
    held.wait()
    if refused:
        raise FailedPrecondition(
            f"{module!r} cannot be withheld from {program.source!r}: no lease (fcntl(2)): {refused[0].strerror}"
        )
    return thread


def _links(program: Program) -> list[str]:
    """The paths of the links; a file in a directory of the program is reached by the directory's link."""
    targets = {SCRATCH, *(file.target for file in program.files)}
    return sorted(each for each in targets if not any(each.startswith(f"{other}/") for other in targets))


def _directories(program: Program) -> list[str]:
    """The parent directories of the links, each after its own parents; without `/`."""
    return sorted({str(each) for link in _links(program) for each in PurePosixPath(link).parents} - {"/"})
