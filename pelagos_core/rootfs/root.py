"""The container's root, and paths resolved inside it; what is mounted there, native/process/ does.

A path is opened by openat2(2) with RESOLVE_IN_ROOT: an absolute symlink or `..` in the image stays
inside, and a magic link is refused. In the init process, as root.
"""

from __future__ import annotations

import errno
import os
import stat

from pelagos_core.errors import InvalidArgument, PermissionDenied
from pelagos_core.linux import syscalls
from pelagos_core.native.process import NativeProcess

RESOLVE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
"""How a path of a container is resolved: an absolute link or `..` stays inside, a magic link is refused."""

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR)


class Root:
    """A directory of the host that becomes a container's `/`."""

    def __init__(self, path: str) -> None:
        """path: the directory's host path, from the bundle, not from the image."""
        self.path = path
        self.process = NativeProcess(path)

    @property
    def fd(self) -> int:
        """A descriptor of it, once there is one; else -1."""
        return self.process["root"]

    def open(self, path: str, flags: int) -> int:
        """Open a path as the container would resolve it. Raises OSError."""
        return syscalls.openat2(self.fd, path, flags, RESOLVE)

    def open_file(self, path: str) -> int | None:
        """Open a regular file for reading; None if it is not there.

        Raises PermissionDenied for what may not be resolved or read, InvalidArgument for
        anything that is not a regular file, both in the words of execve(2), by which docker
        and podman tell that their exit code is 126. Nothing of the file is read.
        """
        try:
            found = self.open(path, os.O_PATH)
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise PermissionDenied(f"entry point {path!r}: {_reason(error)}") from None
        try:
            # Looked at before it is opened: opening a FIFO waits for a writer, and opening a
            # device that the image brings may do anything.
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
