"""One entry of the store: a directory with an engine's code and its description.

    code    the compiled code, at least one byte, never written again
    about   its key, its size and its digest
    seen    the identity of the file whose digest was last checked; its mtime is the last use

The digest of a large file takes longer than a start (150 MB: 75 ms), so it is computed once: after
the compilation, and again after a reboot or when any attribute of the file has changed. Every
write updates the ctime, which no system call can set. A file that a power cut has left
incomplete is detected because the boot id differs.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from dataclasses import asdict, dataclass

from pelagos_core.cache.key import Key
from pelagos_core.cache.lent_directory import detached
from pelagos_core.cache.own_file import READ, Broken, OwnFile
from pelagos_core.errors import InvalidArgument
from pelagos_core.linux.descriptor import Fd
from pelagos_core.oci.field import Field
from pelagos_core.ownership import is_written_by
from pelagos_core.plugin import digest
from pelagos_core.plugin.entrypoint import CODE

ABOUT, SEEN = "about", "seen"
_MAX_ABOUT = 64 << 10
_MAX_SIZE = 2**62
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class About:
    """The description of an entry.

    key: the entry's key.
    path: the entry point's path in the first container that used it.
    size, sha256: the code's size in bytes and its digest.
    created: seconds since the epoch.
    """

    key: Key
    path: str
    size: int
    sha256: str
    created: int

    def encode(self) -> bytes:
        """The content of the file `about`."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> About:
        """Decode the content of `about`. Raises InvalidArgument."""
        field = Field.parse(ABOUT, data)
        key = field.get("key")
        return cls(
            Key(**{name: key.get(name).text() for name in Key.__slots__}),
            field.get("path").text(),
            field.get("size").number(_MAX_SIZE),
            field.get("sha256").text(),
            field.get("created").number(_MAX_SIZE),
        )


class Entry:
    """An open entry; the caller closes it."""

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self.fd = fd

    @classmethod
    def open(cls, directory: int, name: str) -> Entry:
        """Open an entry of a store's directory. Raises FileNotFoundError or Broken."""
        try:
            fd = os.open(name, READ | os.O_DIRECTORY, dir_fd=directory)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise Broken(f"not a directory: {error.strerror}") from None
        if not is_written_by(os.fstat(fd), os.geteuid()):
            os.close(fd)
            raise Broken("its directory can be written by others")
        return cls(name, fd)

    def close(self) -> None:
        """Close it."""
        os.close(self.fd)

    def __enter__(self) -> Entry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def is_seen(self) -> bool:
        """Whether its code is the unchanged file whose digest was checked in this boot."""
        try:
            with self._file(CODE) as code, self._file(SEEN) as seen:
                return os.read(seen.fd, 1024) == self._stamp(os.fstat(code.fd))
        except Broken:
            return False

    def check(self) -> About:
        """Compare its code with its digest, and record the result. Raises Broken."""
        about = self.about()
        if about.key.name != self.name:
            raise Broken("the key does not match the entry's name")
        with self._file(CODE) as code:
            status = os.fstat(code.fd)
            if status.st_size != about.size or not about.size:
                raise Broken(f"{status.st_size} bytes, not {about.size}")
            try:
                found = digest.sha256(code.fd)
            except OSError as error:
                raise Broken(f"cannot be read: {error.strerror}") from None
            if found != about.sha256:
                raise Broken("its digest differs")
            self._see(status)
        return about

    def about(self) -> About:
        """Its description. Raises Broken."""
        with self._file(ABOUT) as file:
            try:
                return About.decode(os.read(file.fd, _MAX_ABOUT))
            except InvalidArgument as error:
                raise Broken(error.message) from None

    def complete(self, about: About) -> None:
        """Write the description of the code. The code must have been written before. Raises OSError."""
        with self._file(CODE) as code:
            os.fchmod(code.fd, 0o444)  # the container's user must be able to read it
            self._write(ABOUT, about.encode(), 0o400)
            self._see(os.fstat(code.fd))

    def touch(self) -> None:
        """Record the current time as its last use. A store that cannot be written is no error."""
        with contextlib.suppress(OSError):
            os.utime(SEEN, dir_fd=self.fd, follow_symlinks=False)

    def used(self) -> float:
        """The time of its last use, in seconds since the epoch; 0 for never."""
        try:
            return os.stat(SEEN, dir_fd=self.fd, follow_symlinks=False).st_mtime
        except OSError:
            return 0.0

    def disk_bytes(self) -> int:
        """The disk space of its code, in bytes."""
        try:
            return os.stat(CODE, dir_fd=self.fd, follow_symlinks=False).st_blocks * 512
        except OSError:
            return 0

    def lend(self) -> int:
        """A read-only descriptor of its directory, see `lent_directory`. Raises OSError."""
        return detached(self.fd)

    def _see(self, status: os.stat_result) -> None:
        with contextlib.suppress(OSError):  # then the next reader computes the digest again
            self._write(SEEN, self._stamp(status), 0o600)

    def _stamp(self, status: os.stat_result) -> bytes:
        fields = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        return " ".join((self.name, boot(), *map(str, fields))).encode()

    def _write(self, name: str, data: bytes, mode: int) -> None:
        with Fd(os.open(name, _WRITE, 0o600, dir_fd=self.fd)) as fd:
            os.write(fd, data)
            os.fchmod(fd, mode)

    def _file(self, name: str) -> OwnFile:
        return OwnFile(self.fd, name)


@functools.cache
def boot() -> str:
    """The id of this boot of the kernel."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
