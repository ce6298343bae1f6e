"""System calls that Python's os module lacks, by ctypes.

Each wrapper raises OSError with the errno and the object's name. Numbers above 423 are the same on every
architecture. The constants are those of the kernel's uapi headers.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import signal
import struct
from collections.abc import Callable

libc = ctypes.CDLL(None, use_errno=True)

# Old calls have other numbers on x86-64 than on all other architectures.
_SYS_CLONE = 56 if platform.machine() == "x86_64" else 220
_SYS_RT_SIGACTION = 13 if platform.machine() == "x86_64" else 134
_SYS_TGKILL = 234 if platform.machine() == "x86_64" else 131
_SYS_OPEN_TREE = 428
_SYS_CLOSE_RANGE = 436
_SYS_OPENAT2 = 437
_SYS_PIDFD_GETFD = 438
_SYS_MOUNT_SETATTR = 442

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_NEWTIME = 0x00000080

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_IN_ROOT = 0x10

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_REC = 16384
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20

AT_EMPTY_PATH = 0x1000
OPEN_TREE_CLONE = 1

IN_MODIFY = 2

_SOL_SOCKET, _SO_ATTACH_FILTER = 1, 26
_SYN, _ACK = 0x02, 0x10

PR_SET_PDEATHSIG = 1
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15

_OPENAT2_RETRIES = 1000


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


libc.syscall.restype = ctypes.c_long
libc.unshare.argtypes = (ctypes.c_int,)
libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)
libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)
libc.inotify_init1.argtypes = (ctypes.c_int,)
libc.inotify_add_watch.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
libc.setsockopt.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)


# A PyDLL keeps the GIL: no other Python code runs between the call and its return.
_clone = ctypes.PyDLL(None, use_errno=True).syscall
_clone.restype = ctypes.c_long
_clone.argtypes = (ctypes.c_long, ctypes.c_ulong, *[ctypes.c_void_p] * 4)


def _checked(result: int, what: str) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), what)
    return result


def _syscall(number: int, what: str, *args: object) -> int:
    return _checked(libc.syscall(ctypes.c_long(number), *args), what)


def fork(flags: int) -> int:
    """os.fork with clone(2) flags, such as CLONE_NEWPID. Returns the pid; 0 in the child.

    The calling process must have one thread. Raises OSError.
    """
    return between_hooks(lambda: _bare_clone(flags))


def between_hooks(clone: Callable[[], int]) -> int:
    """Call `clone` between the interpreter's functions for a fork, so that its state is as after os.fork.

    The functions are documented in CPython's C API ("Operating System Utilities"). clone: returns 0 in the child only.
    """
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = -1
    try:
        pid = clone()
    finally:
        (ctypes.pythonapi.PyOS_AfterFork_Parent if pid else ctypes.pythonapi.PyOS_AfterFork_Child)()
    return pid


def _bare_clone(flags: int) -> int:
    return _checked(_clone(_SYS_CLONE, flags | signal.SIGCHLD, None, None, None, None), f"clone {flags:#x}")


def unshare(flags: int) -> None:
    """unshare(2)."""
    _checked(libc.unshare(flags), f"unshare {flags:#x}")


def setns(fd: int, kind: int) -> None:
    """setns(2). fd: of a namespace, with its CLONE_NEW… flag as kind (0: any); or a pidfd, with several flags."""
    _checked(libc.setns(fd, kind), f"setns {kind:#x}")


def mount(source: str, target: str, kind: str, flags: int, data: str) -> None:
    """mount(2); empty strings are passed as NULL."""
    words = [word.encode() or None for word in (source, target, kind, data)]
    _checked(libc.mount(words[0], words[1], words[2], flags, words[3]), target)


def openat2(directory: int, path: str, flags: int, resolve: int) -> int:
    """openat2(2). Returns a descriptor that is closed on exec.

    With RESOLVE_IN_ROOT the kernel returns EAGAIN for a path with `..` if a rename or mount anywhere on the system
    happens meanwhile. A process that renames files all the time can make every attempt fail, so the number of attempts
    is limited.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, 0, resolve)
    args = (ctypes.c_int(directory), os.fsencode(path), ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how)))
    for _ in range(_OPENAT2_RETRIES):
        with contextlib.suppress(BlockingIOError):
            return _syscall(_SYS_OPENAT2, path, *args)
    return _syscall(_SYS_OPENAT2, path, *args)


def open_tree(directory: int, path: str, flags: int) -> int:
    """open_tree(2). Returns a descriptor of the mount, which is closed on exec."""
    args = (ctypes.c_int(directory), path.encode(), ctypes.c_uint(flags | os.O_CLOEXEC))
    return _syscall(_SYS_OPEN_TREE, path, *args)


def mount_setattr(
    mount_fd: int, flags: int, attr_set: int, attr_clr: int, propagation: int, user_namespace: int = 0
) -> None:
    """mount_setattr(2) on the mount of a descriptor."""
    attr = _MountAttr(attr_set, attr_clr, propagation, user_namespace)
    args = (ctypes.c_int(mount_fd), b"", ctypes.c_uint(flags | AT_EMPTY_PATH), ctypes.byref(attr))
    _syscall(_SYS_MOUNT_SETATTR, "mount_setattr", *args, ctypes.c_size_t(ctypes.sizeof(attr)))


def close_range(first: int, last: int = 2**32 - 1) -> None:
    """close_range(2): close every descriptor from `first` to `last`."""
    _syscall(_SYS_CLOSE_RANGE, "close_range", ctypes.c_uint(first), ctypes.c_uint(last), ctypes.c_int(0))


def pidfd_getfd(pidfd: int, number: int) -> int:
    """pidfd_getfd(2): returns a copy of descriptor `number` of a process. Raises OSError."""
    return _syscall(_SYS_PIDFD_GETFD, "pidfd_getfd", ctypes.c_int(pidfd), ctypes.c_int(number), ctypes.c_uint(0))


def tgkill(pid: int, signum: int) -> None:
    """tgkill(2): sends a signal to the first thread of a process. Engines' profiles allow tgkill(2), not kill(2)."""
    _syscall(_SYS_TGKILL, "tgkill", ctypes.c_int(pid), ctypes.c_int(pid), ctypes.c_int(signum))


def refuse_connections(listener: int) -> None:
    """Make the kernel drop each SYN for a listening TCP socket. Open connections are not affected. Raises OSError.

    By a socket filter (socket(7), SO_ATTACH_FILTER; filter.rst). The filter sees a packet from its TCP header on; byte
    13 contains the flags.
    """
    code = ((0x30, 0, 0, 13), (0x54, 0, 0, _SYN | _ACK), (0x15, 0, 1, _SYN), (0x06, 0, 0, 0), (0x06, 0, 0, 2**32 - 1))
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in code))
    program = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(instructions))
    _checked(libc.setsockopt(listener, _SOL_SOCKET, _SO_ATTACH_FILTER, program, len(program)), "SO_ATTACH_FILTER")


def inotify(path: str, events: int) -> int:
    """inotify(7) on one file. Returns a descriptor that does not block and is closed on exec."""
    fd = _checked(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1")
    try:
        _checked(libc.inotify_add_watch(fd, path.encode(), events), path)
    except OSError:
        os.close(fd)
        raise
    return fd


def prctl(option: int, arg2: int = 0, arg3: int = 0) -> int:
    """prctl(2)."""
    return _checked(libc.prctl(option, arg2, arg3, 0, 0), f"prctl {option}")


def set_comm(name: str) -> None:
    """prctl(2), PR_SET_NAME: sets the name that `ps` shows, cut to 15 bytes."""
    text = ctypes.create_string_buffer(os.fsencode(name))
    _checked(libc.prctl(PR_SET_NAME, ctypes.addressof(text), 0, 0, 0), "prctl PR_SET_NAME")


def default_signal(signum: int) -> None:
    """rt_sigaction(2): sets the default action, also for the two signals that the C library reserves (nptl(7))."""
    action = ctypes.create_string_buffer(64)  # all zeros: SIG_DFL is 0
    _syscall(_SYS_RT_SIGACTION, f"signal {signum}", ctypes.c_int(signum), action, None, ctypes.c_size_t(8))
