"""Writes the files of an image as the archive of one layer. The archive is reproducible: equal files, equal bytes.

Owner, times, order and everything else that depends on the machine are left out. The archive is not compressed,
because versions of a compressor differ in their output. Used by the command only.
"""

from __future__ import annotations

import os
import posixpath
import stat
import tarfile
from collections.abc import Callable, Iterator
from typing import NamedTuple

from pelagos_core.errors import AlreadyExists, InvalidArgument, NotFound

Sink = Callable[[bytes], object]
"""A function that writes the next bytes."""

_CHUNK = 1 << 20
_BLOCK = 512  # of a tar file
_WHITEOUT = ".wh."  # image-spec, layer.md: a file with this prefix removes a file of a lower layer
_MAX_FILES = 1_000_000
_SPECIAL = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class _Entry(NamedTuple):
    """One file.

    kind: its type, as in `tarfile`. source: the path or descriptor of a regular file. link: the target of a symlink.
    """

    kind: bytes
    mode: int
    size: int = 0
    source: str | int = ""
    link: str = ""


class Layer:
    """The files of a layer. Nothing is read before `write`, which may be called more than once."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def add_module(self, file: int, path: str) -> None:
        """Add an open file as `path`, readable for all users, not executable."""
        self._put(path, _Entry(tarfile.REGTYPE, 0o644, os.fstat(file).st_size, file))

    def add(self, source: str, target: str) -> None:
        """Add a file as `target`, or the content of a directory below `target`.

        Modes become 0755 for directories and for files that the owner may execute, else 0644. Set-user-ID bits and
        extended attributes are left out. Symbolic links are stored as links, but `source` itself is followed.
        A later file replaces an earlier one with the same path.
        Raises NotFound, AlreadyExists or InvalidArgument; the message names the file.
        """
        try:
            status = os.stat(source)
        except OSError as error:
            raise NotFound(f"{source!r}: {error.strerror}") from None
        if stat.S_ISDIR(status.st_mode):
            self._add_tree(source, target)
        else:
            self._add_file(source, target, status)

    def __contains__(self, path: str) -> bool:
        """Whether an absolute path is a file, a link or a directory of the layer."""
        return _inside(path) in self._entries

    def write(self, sink: Sink) -> None:
        """Write the archive. Raises InvalidArgument if a file has changed since it was added."""
        for path in sorted(self._entries):
            entry = self._entries[path]
            sink(header(path, entry.size, entry.mode, entry.kind, entry.link))
            if entry.kind == tarfile.REGTYPE:
                copied = 0
                for chunk in _contents(entry):
                    copied += len(chunk)
                    if copied > entry.size:
                        break
                    sink(chunk)
                if copied != entry.size:
                    raise InvalidArgument(f"/{path} has changed while it was packed")
                sink(padding(entry.size))
        sink(END)

    def _add_tree(self, source: str, target: str) -> None:
        def failed(error: OSError) -> None:
            raise InvalidArgument(f"{error.filename!r}: {error.strerror}") from None

        if _inside(target):
            self._put(target, _Entry(tarfile.DIRTYPE, 0o755))
        for place, directories, files in os.walk(source, onerror=failed):
            below = os.path.relpath(place, source)
            for name in (*directories, *files):
                path = os.path.join(place, name)
                self._add_file(path, posixpath.join(target, below, name), os.lstat(path))
            if len(self._entries) > _MAX_FILES:
                raise InvalidArgument(f"{source!r} has more than {_MAX_FILES} files")

    def _add_file(self, source: str, target: str, status: os.stat_result) -> None:
        mode = status.st_mode
        if stat.S_ISLNK(mode):
            self._put(target, _Entry(tarfile.SYMTYPE, 0o777, link=os.readlink(source)))
        elif stat.S_ISDIR(mode):
            self._put(target, _Entry(tarfile.DIRTYPE, 0o755))
        elif stat.S_ISREG(mode):
            executable = mode & stat.S_IXUSR
            self._put(target, _Entry(tarfile.REGTYPE, 0o755 if executable else 0o644, status.st_size, source))
        else:
            what = next(name for is_kind, name in _SPECIAL if is_kind(mode))
            raise InvalidArgument(f"{source!r} is {what}: an image has files, directories and links only")

    def _put(self, target: str, entry: _Entry) -> None:
        path = _inside(target)
        if posixpath.basename(path).startswith(_WHITEOUT):
            raise InvalidArgument(f"/{path}: in an image a name that begins with {_WHITEOUT} removes a file")
        for parent in _parents(path):
            if self._entries.setdefault(parent, _Entry(tarfile.DIRTYPE, 0o755)).kind != tarfile.DIRTYPE:
                raise AlreadyExists(f"/{path}: /{parent} is a file of the image, not a directory")
        before = self._entries.get(path)
        if before is not None and (before.kind == tarfile.DIRTYPE) != (entry.kind == tarfile.DIRTYPE):
            raise AlreadyExists(f"/{path} is a directory and a file of the image")
        self._entries[path] = entry


END = bytes(2 * _BLOCK)
"""The end of a tar file."""


def header(path: str, length: int, mode: int, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    """The tar header of a file that belongs to root, with the time 0."""
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode, entry.type, entry.linkname = length, mode, kind, link
    return entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def padding(length: int) -> bytes:
    """The padding after `length` bytes of content in a tar file."""
    return bytes(-length % _BLOCK)


def _contents(entry: _Entry) -> Iterator[bytes]:
    file = entry.source if isinstance(entry.source, int) else os.open(entry.source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        offset = 0
        while chunk := os.pread(file, _CHUNK, offset):
            yield chunk
            offset += len(chunk)
    finally:
        if file is not entry.source:
            os.close(file)


def _inside(path: str) -> str:
    """A path relative to the root, without `.` and `..`, as in an archive."""
    return posixpath.normpath(f"/{path}").lstrip("/")


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
