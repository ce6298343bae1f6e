"""A file of the cache that only this user can write: a regular file without a second link."""

from __future__ import annotations

import os
import stat

from pelagos_core.ownership import is_written_by

READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Broken(Exception):
    """A file or entry must not be used, for the reason in the text."""


class OwnFile:
    """A file in a directory, open for reading; the end of its `with` block closes it."""

    def __init__(self, directory: int, name: str) -> None:
        """directory: a descriptor of a directory that only this user can write to. Raises Broken."""
        try:
            self.fd = os.open(name, READ, dir_fd=directory)
        except OSError as error:
            raise Broken(f"{name}: {error.strerror}") from None
        status = os.fstat(self.fd)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or not is_written_by(status, os.geteuid()):
            os.close(self.fd)
            raise Broken(f"{name} is not a regular file with one link, or can be written by others")

    def read(self, most: int) -> bytes:
        """The whole content. Raises Broken if it cannot be read, or has more than `most` bytes."""
        try:
            data = os.read(self.fd, most + 1)
        except OSError as error:
            raise Broken(f"cannot be read: {error.strerror}") from None
        if len(data) > most:
            raise Broken(f"more than {most} bytes")
        return data

    def __enter__(self) -> OwnFile:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)
