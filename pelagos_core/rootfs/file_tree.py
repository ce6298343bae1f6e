"""Copying a directory by descriptors, so that no symlink in it leads anywhere."""

from __future__ import annotations

import os
import stat

from pelagos_core.linux.descriptor import Fd

_COPY_BYTES = 1 << 24
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def copy_tree(source: int, target: int) -> None:
    """Copy what is in an open directory into another one, with modes and owners.

    Symlinks are copied as such; sockets and device nodes are left out.
    source: may have been opened with O_PATH. Raises OSError.
    """
    with Fd(os.open(".", _DIRECTORY, dir_fd=source)) as directory:
        _copy_attributes(os.fstat(directory), target)
        for entry in os.scandir(directory):
            _copy_entry(entry.name, directory, target)


def _copy_entry(name: str, source: int, target: int) -> None:
    status = os.lstat(name, dir_fd=source)
    if stat.S_ISDIR(status.st_mode):
        os.mkdir(name, 0o700, dir_fd=target)
        with (
            Fd(os.open(name, _DIRECTORY, dir_fd=source)) as inner,
            Fd(os.open(name, _DIRECTORY, dir_fd=target)) as made,
        ):
            copy_tree(inner, made)
    elif stat.S_ISREG(status.st_mode):
        _copy_file(name, source, target)
    elif stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)


def _copy_file(name: str, source: int, target: int) -> None:
    with (
        Fd(os.open(name, _READ, dir_fd=source)) as read,
        Fd(os.open(name, _WRITE, 0o600, dir_fd=target)) as write,
    ):
        offset = 0
        while copied := os.sendfile(write, read, offset, _COPY_BYTES):
            offset += copied
        _copy_attributes(os.fstat(read), write)


def _copy_attributes(status: os.stat_result, target: int) -> None:
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))  # after the owner, whose change clears set-id bits
