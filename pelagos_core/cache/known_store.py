"""Where it is kept what is known of modules: in memory, and in a directory of the store, a small file for each key.

It is trusted as compiled code is: the directory and each file in it must belong to this user and be writable by no
other. What is not so, or cannot be read, is not known, and is written anew. A file appears whole (rename(2)), so no
lock is needed; if two processes write the same one, what is lost of the one is learnt again.
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

_MOST = 4096  # files; each takes a block of the disk
_MOST_IN_MEMORY = 128
_MAX_FILE = MAX_BYTES + (8 << 10)  # with its key, in which the name of a function may be long
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
    """What one process knows of modules: the last that it has looked for, before what all have on the disk."""

    def __init__(self, most: int = _MOST_IN_MEMORY) -> None:
        """most: so many are held in memory, those that were looked for last."""
        self._most = most
        self._recent: dict[str, KnownModule] = {}

    def find(self, cache: CacheSettings, key: KnownKey) -> KnownModule | None:
        """What is known under a key, or None."""
        name = key.name
        known = self._recent.pop(name, None) or _read(cache, key)
        if known is not None:
            self._hold(name, known)
        return known

    def keep(self, cache: CacheSettings, key: KnownKey, known: KnownModule) -> None:
        """Keep what was learnt, together with what is known already. A disk that cannot be written is no error.

        The caller has made sure that the key's digest is that of the file of which this was learnt.
        """
        name = key.name
        earlier = _read(cache, key) or self._recent.get(name)  # other processes may have learnt more since
        if earlier is not None:
            known = known.with_earlier(earlier)
        self._hold(name, known)
        if known == earlier or not cache.size:
            return
        try:
            with KnownStore(cache.directory, make=True) as store:
                store.write(key, known)
        except (OSError, PelagosError) as error:
            log.warning("cache %s: what is known of a module is not kept: %s", cache.directory, error)

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
    """The open directory on the disk; the end of its `with` block closes it."""

    def __init__(self, cache: str, *, make: bool = False) -> None:
        """cache: the store's directory. make: it is made if it is not there.

        Raises FileNotFoundError if it is not there, OSError, or PermissionDenied if others could write to the store.
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
        """What is kept under a key, which counts as a use of it; None if it is not there, or must not be used."""
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
        """Keep it under a key, in the place of what is there. The oldest make room. Raises OSError."""
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
        """Remove what has this name, if there is anything. Raises OSError."""
        remove_tree(self.fd, name)

    def entries(self) -> Iterator[KnownEntry]:
        """All that can be used, in no order."""
        for name in os.listdir(self.fd):
            entry = self._entry(name)
            if entry:
                yield entry

    def prune(self, useless: Callable[[KnownEntry], bool]) -> list[KnownEntry]:
        """Remove what is useless, and what is no entry. Returns the entries that were removed. Raises OSError."""
        removed = []
        for name in os.listdir(self.fd):
            entry = self._entry(name)
            if entry is None or useless(entry):
                self.remove(name)
                removed += [entry] if entry else []
        return removed

    def _make_room(self) -> None:
        """Remove the files that were not used for the longest time, if there are too many. In the daemon: quick."""
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
    """Raises Broken."""
    try:
        found = json.loads(data)
        key = KnownKey(*found["key"])
        if [type(value) for value in astuple(key)] != [str, str, str, bool, str, str]:
            raise ValueError("not a key")
        return key, KnownModule.of(found["known"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Broken(f"malformed: {error}") from None
