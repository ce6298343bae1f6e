"""The container's root, and opening files inside it. native/process/ mounts file systems in it.

Paths are opened by openat2(2) with RESOLVE_IN_ROOT: absolute symbolic links and `..` stay inside the root,
and magic links are refused. In the init process, as root.
"""

from __future__ import annotations

import errno
import os
import stat

from pelagos_core.errors import InvalidArgument, PermissionDenied
from pelagos_core.linux import syscalls
from pelagos_core.native.process import NativeProcess

RESOLVE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
"""Flags of openat2(2): absolute links and `..` stay inside the root, magic links are refused."""

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR)


class Root:
    """A directory of the host that becomes a container's `/`."""

    def __init__(self, path: str) -> None:
        """path: of the directory on the host; from the bundle, not from the image."""
        self.path = path
        self.process = NativeProcess(path)

    @property
    def fd(self) -> int:
        """A descriptor of the root; -1 before it is opened."""
        return self.process["root"]

    def open(self, path: str, flags: int) -> int:
        """Open a path, resolved inside the root. Raises OSError."""
        return syscalls.openat2(self.fd, path, flags, RESOLVE)

    def open_file(self, path: str) -> int | None:
        """Open a regular file for reading; None if it is missing.

        Raises PermissionDenied for a path that must not be resolved or read, InvalidArgument for any file that is
        not regular. Both contain the text of execve(2), from which docker and podman derive exit code 126. Does not
        read the file.
        """
        try:
            found = self.open(path, os.O_PATH)
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise PermissionDenied(f"entry point {path!r}: {_reason(error)}") from None
        try:
            # Checked on an O_PATH descriptor first: opening a FIFO waits for a writer, and opening a device node of
            # the image may have any effect.
            mode = os.fstat(found).st_mode
            if not stat.S_ISREG(mode):
                what = "is a directory" if stat.S_ISDIR(mode) else "not a regular file"
                raise InvalidArgument(f"entry point {path!r}: {what}: permission denied")
            return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise PermissionDenied(f"entry point {path!r}: {_reason(error)}") from None
        finally:
            os.close(found)


def _reason(error: OSError) -> str:
    return (error.strerror or "").lower()
