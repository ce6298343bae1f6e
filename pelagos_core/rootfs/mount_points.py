"""Where something can be mounted in a root: opened, and made where it is missing.

Also behind a dangling link, as runc does: what it leads to is made, inside the root. Runs in the
init process, as root.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath

from pelagos_core.errors import InvalidArgument, PermissionDenied
from pelagos_core.linux import syscalls
from pelagos_core.rootfs import path_walk

_NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def directory(root: int, path: str) -> int:
    """Open a directory, which is made with its missing parents.

    root: a descriptor of the root. Returns one of the directory. Raises InvalidArgument for what
    cannot be a directory, PermissionDenied for what cannot be made.
    """
    try:
        return syscalls.openat2(root, path, os.O_PATH | os.O_DIRECTORY, path_walk.RESOLVE)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise InvalidArgument(f"directory {path!r} in the container: {error.strerror}") from None
    found = os.dup(root)
    try:
        for name in filter(None, _destination(root, path).split("/")):
            below = _made(found, name)
            os.close(found)
            found = below
    except OSError as error:
        os.close(found)
        raise PermissionDenied(f"directory {path!r} in the container: {error.strerror}") from None
    return found


def file(root: int, path: str) -> int:
    """Open what is there, or an empty file, which is made with its missing parents; as `directory`."""
    try:
        return syscalls.openat2(root, path, os.O_PATH, path_walk.RESOLVE)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise InvalidArgument(f"file {path!r} in the container: {error.strerror}") from None
    parent, name = posixpath.split(_destination(root, path))
    above = directory(root, parent)
    try:
        with contextlib.suppress(FileExistsError):  # made by another process meanwhile
            os.close(os.open(name, _NEW_FILE, 0o644, dir_fd=above))
        return os.open(name, _OPEN, dir_fd=above)
    except OSError as error:
        raise PermissionDenied(f"file {path!r} in the container: {error.strerror}") from None
    finally:
        os.close(above)


def _destination(root: int, path: str) -> str:
    try:
        return path_walk.walk(root, path).path
    except OSError as error:
        raise InvalidArgument(f"{path!r} in the container: {error.strerror}") from None


def _made(parent: int, name: str) -> int:
    """Open a directory, which is made if it is missing. A link that is put there meanwhile is not followed."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=parent)
    return os.open(name, _OPEN | os.O_DIRECTORY, dir_fd=parent)
