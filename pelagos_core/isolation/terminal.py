"""The controlling terminal, from the process' side: taking it, its signals, leaving it.

Source: tty_ioctl(4), credentials(7), pid_namespaces(7).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import stat
import struct
import termios

from pelagos_core.rootfs.root import Root

_MULTIPLEXER = "/dev/pts/ptmx"
_PTMX = os.makedev(5, 2)
_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441

SIGNALS = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGHUP})
"""What the keys of a terminal, and its hanging up, send to end a process."""


def allocate(root: Root, uid: int) -> tuple[int, int] | None:
    """A terminal of the container's own devpts, for a native program, which looks itself up there.

    uid: of the user of the process. Returns its master and slave; None if the container has none.
    """
    try:
        found = root.open(_MULTIPLEXER, os.O_PATH)
    except OSError:
        return None
    try:
        # Looked at before it is opened: an image may have anything there.
        status = os.fstat(found)
        if not stat.S_ISCHR(status.st_mode) or status.st_rdev != _PTMX:
            return None
        master = os.open(f"/proc/self/fd/{found}", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None
    finally:
        os.close(found)
    try:
        fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
        # By the master and not by a path: nothing else can have been put there.
        slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        os.fchown(slave, uid, -1)
    except OSError:
        os.close(master)
        return None
    return master, slave


def take(fd: int) -> None:
    """Make the terminal behind `fd` the controlling one of the calling process, which leads its session.

    Its signals wait until `report_signals`: while they have no handler the kernel drops them
    where the process is the first one of a pid namespace, unless they are blocked.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    fcntl.ioctl(fd, termios.TIOCSCTTY, 0)


def report_signals(fd: int) -> None:
    """Have each of SIGNALS written to `fd`, which is made non-blocking, as one byte.

    For a guest's process: no Python code runs while an engine does, but the interpreter's own
    handler, which writes this byte, needs none.
    """
    os.set_blocking(fd, False)
    for signum in SIGNALS:
        signal.signal(signum, lambda _signum, _frame: None)
    signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def leave() -> None:
    """Give the terminal up before the process ends.

    When a session's leader ends with its terminal, the kernel hangs that up, and what has not
    been read of it yet is gone.
    """
    for signum in SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # it has been hung up already
        fcntl.ioctl(1, termios.TIOCNOTTY)  # the output: a policy may have taken the input away
