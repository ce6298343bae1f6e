"""Copying a directory by descriptors, so that no symlink in it leads anywhere."""

from __future__ import annotations

import os
import stat

_COPY_BYTES = 1 << 24
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def copy_tree(source: int, target: int) -> None:
    """Copy what is in an open directory into another one, with modes and owners.

    Symlinks are copied as such; sockets and device nodes are left out.
    source: may have been opened with O_PATH. Raises OSError.
    """
    directory = os.open(".", _DIRECTORY, dir_fd=source)
    try:
        _copy_attributes(os.fstat(directory), target)
        for entry in os.scandir(directory):
            _copy_entry(entry.name, directory, target)
    finally:
        os.close(directory)


def _copy_entry(name: str, source: int, target: int) -> None:
    status = os.lstat(name, dir_fd=source)
    if stat.S_ISDIR(status.st_mode):
        os.mkdir(name, 0o700, dir_fd=target)
        inner, made = os.open(name, _DIRECTORY, dir_fd=source), os.open(name, _DIRECTORY, dir_fd=target)
        try:
            copy_tree(inner, made)
        finally:
            os.close(inner)
            os.close(made)
    elif stat.S_ISREG(status.st_mode):
        _copy_file(name, source, target)
    elif stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)


def _copy_file(name: str, source: int, target: int) -> None:
    read = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
    write = -1
    try:
        write = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=target)
        offset = 0
        while copied := os.sendfile(write, read, offset, _COPY_BYTES):
            offset += copied
        _copy_attributes(os.fstat(read), write)
    finally:
        os.close(read)
        if write >= 0:
            os.close(write)


def _copy_attributes(status: os.stat_result, target: int) -> None:
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))  # after the owner, whose change clears set-id bits
