"""The store of known modules: records in memory, and in a directory of the cache, a small file for each key.

It is trusted like compiled code: the directory and each file in it must belong to this user and be writable by no
other. Any other or unreadable file is ignored and written again. A file is complete when it appears (rename(2)), so
no lock is needed. If two processes write the same file, answers of one are lost; the backends are called again.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass

from pelagos_core.cache.known_module import MAX_BYTES, KnownKey, KnownModule
from pelagos_core.cache.own_file import READ, Broken, OwnFile
from pelagos_core.cache.store import KNOWN, Store, remove_tree
from pelagos_core.config.node_file import CacheSettings
from pelagos_core.errors import PelagosError
from pelagos_core.linux.descriptor import Fd
from pelagos_core.ownership import is_written_by

log = logging.getLogger(__name__)

_MOST = 4096  # files; each takes a block on disk
_MOST_IN_MEMORY = 128
_MAX_FILE = MAX_BYTES + (8 << 10)  # with the key, in which a function's name may be long
_NAME = re.compile("[0-9a-f]{64}")
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class KnownEntry:
    """An entry as `pelagos cache ls` shows it. used: seconds since the epoch."""

    name: str
    key: KnownKey
    known: KnownModule
    used: float
    disk_bytes: int


class KnownModules:
    """The records for one process: a cache in memory of the most recent ones, in front of the files on disk."""

    def __init__(self, most: int = _MOST_IN_MEMORY) -> None:
        """most: the number of records in memory; the least recently used one is dropped."""
        self._most = most
        self._recent: dict[str, KnownModule] = {}

    def find(self, cache: CacheSettings, key: KnownKey) -> KnownModule | None:
        """The record of a key, or None."""
        name = key.name
        known = self._recent.pop(name, None) or _read(cache, key)
        if known is not None:
            self._hold(name, known)
        return known

    def keep(self, cache: CacheSettings, key: KnownKey, known: KnownModule) -> None:
        """Store a record, merged with the present one. A disk that cannot be written is no error.

        The caller must have checked that the key's digest is that of the file of this record.
        """
        name = key.name
        earlier = _read(cache, key) or self._recent.get(name)  # other processes may have written since
        if earlier is not None:
            known = known.with_earlier(earlier)
        self._hold(name, known)
        if known == earlier or not cache.size:
            return
        try:
            with KnownStore(cache.directory, make=True) as store:
                store.write(key, known)
        except (OSError, PelagosError) as error:
            log.warning("cache %s: the record of a module is not stored: %s", cache.directory, error)

    def _hold(self, name: str, known: KnownModule) -> None:
        self._recent.pop(name, None)
        self._recent[name] = known
        if len(self._recent) > self._most:
            del self._recent[next(iter(self._recent))]


def _read(cache: CacheSettings, key: KnownKey) -> KnownModule | None:
    if not cache.size:
        return None
    try:
        with KnownStore(cache.directory) as store:
            return store.read(key)
    except (OSError, PelagosError):
        return None


class KnownStore:
    """The open directory on disk; the end of its `with` block closes it."""

    def __init__(self, cache: str, *, make: bool = False) -> None:
        """cache: the cache's directory. make: create the directory if it is missing.

        Raises FileNotFoundError if it is missing, OSError, or PermissionDenied if others can write to it.
        """
        with Store(cache) as store:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(KNOWN, 0o700, dir_fd=store.fd)
            self.fd = os.open(KNOWN, READ | os.O_DIRECTORY, dir_fd=store.fd)
        if not is_written_by(os.fstat(self.fd), os.geteuid()):
            os.close(self.fd)
            raise PermissionError(f"directory {KNOWN!r} can be written by others")

    def __enter__(self) -> KnownStore:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def read(self, key: KnownKey) -> KnownModule | None:
        """Read the record of a key and mark it as used; None if it is missing or must not be used."""
        name = key.name
        try:
            with OwnFile(self.fd, name) as file:
                found, known = _decode(file.read(_MAX_FILE))
                if found != key:
                    return None
                with contextlib.suppress(OSError):  # a disk that cannot be written
                    os.utime(file.fd)
                return known
        except Broken:
            return None

    def write(self, key: KnownKey, known: KnownModule) -> None:
        """Write or replace the record of a key. Removes the oldest if there are too many. Raises OSError."""
        data = _encode(key, known)
        if len(data) > _MAX_FILE:
            return
        new = f".new-{os.getpid()}-{next(_numbers)}"
        try:
            with Fd(os.open(new, _WRITE, 0o600, dir_fd=self.fd)) as file:
                os.write(file, data)
            os.rename(new, key.name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(new, dir_fd=self.fd)
            raise
        self._make_room()

    def remove(self, name: str) -> None:
        """Remove the file of this name, if there is one. Raises OSError."""
        remove_tree(self.fd, name)

    def entries(self) -> Iterator[KnownEntry]:
        """All usable entries, in no order."""
        for name in os.listdir(self.fd):
            entry = self._entry(name)
            if entry:
                yield entry

    def prune(self, useless: Callable[[KnownEntry], bool]) -> list[KnownEntry]:
        """Remove useless entries and all files that are no entries. Returns the removed entries. Raises OSError."""
        removed = []
        for name in os.listdir(self.fd):
            entry = self._entry(name)
            if entry is None or useless(entry):
                self.remove(name)
                removed += [entry] if entry else []
        return removed

    def _make_room(self) -> None:
        """Remove the least recently used files if there are more than _MOST. In the daemon, so it must be quick."""
        names = os.listdir(self.fd)
        if len(names) > _MOST:
            for name in sorted(names, key=self._used)[: len(names) - _MOST + _MOST // 8]:
                self.remove(name)

    def _used(self, name: str) -> float:
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False).st_mtime
        except OSError:  # another process has removed it
            return 0.0

    def _entry(self, name: str) -> KnownEntry | None:
        try:
            with OwnFile(self.fd, name) as file:
                key, known = _decode(file.read(_MAX_FILE))
                status = os.fstat(file.fd)
        except Broken:
            return None
        return KnownEntry(name, key, known, status.st_mtime, status.st_blocks * 512) if key.name == name else None


def _encode(key: KnownKey, known: KnownModule) -> bytes:
    return json.dumps({"key": list(astuple(key)), "known": known.fields()}).encode()


def _decode(data: bytes) -> tuple[KnownKey, KnownModule]:
    """Decode a file. Raises Broken."""
    try:
        found = json.loads(data)
        key = KnownKey(*found["key"])
        if [type(value) for value in astuple(key)] != [str, str, str, bool, bool, str, str]:
            raise ValueError("not a key")
        return key, KnownModule.of(found["known"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Broken(f"malformed: {error}") from None
