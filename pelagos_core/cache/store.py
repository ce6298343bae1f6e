"""The store of compiled code: a directory of root, with one entry for each key.

A process that can write to it can run code in every container. So at each use the directory and
all files in it must belong to this user and be writable by no other user. Files are opened
relative to the open directory, without following links. An entry that fails a check is not used
and is compiled again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pelagos_core.cache.entry import About, Entry
from pelagos_core.cache.own_file import Broken
from pelagos_core.errors import PermissionDenied
from pelagos_core.linux.descriptor import Fd
from pelagos_core.ownership import is_written_by
from pelagos_core.plugin.entrypoint import CODE

_NAME = re.compile("[0-9a-f]{64}")
_NEW, _GONE = ".new-", ".gone-"
_LOCK = "lock"
KNOWN = "known"
"""The directory in a store for the records of `known_store`. It is no entry and has its own limits."""
_WHOLE = 0  # offset of the store's lock; an entry's is a number from its name, below 2^60
_TURNS = 1 << 61
READINGS = 1 << 62
"""The first offset of the slots of modules in memory; see `Store.hold`."""
_LOOK_SECONDS = 0.05
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_COPY_BYTES = 1 << 24


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry as `pelagos cache ls` shows it."""

    name: str
    about: About
    used: float
    disk_bytes: int


class Store:
    """An open store; the caller closes it."""

    def __init__(self, path: str) -> None:
        """Open the store; create it if it is missing.

        Raises OSError, or PermissionDenied if another user can write to it.
        """
        self.path = path
        self._lock = -1
        try:
            self.fd = os.open(path, _DIRECTORY)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o700)
            self.fd = os.open(path, _DIRECTORY)
        if not is_written_by(os.fstat(self.fd), os.geteuid(), secret=True):
            self.close()
            raise PermissionDenied(f"cache {path!r} is not root's alone: chown root, chmod 700, or remove it")

    def close(self) -> None:
        """Close the store; the kernel releases its locks."""
        os.close(self.fd)
        if self._lock >= 0:
            os.close(self._lock)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def find(self, name: str) -> int | None:
        """The directory of an entry whose check is recorded, as from `Entry.lend`.

        Takes a few system calls for any size. None if there is no entry, or if it needs the
        longer check of `checked`. Raises OSError.
        """
        try:
            with Entry.open(self.fd, name) as entry:
                if not entry.is_seen():
                    return None
                entry.touch()
                return entry.lend()
        except (FileNotFoundError, Broken):
            return None

    def checked(self, name: str) -> int | None:
        """Like `find`, but checks the digest of the code. Raises Broken if it must be compiled again, or OSError."""
        try:
            with Entry.open(self.fd, name) as entry:
                entry.check()
                entry.touch()
                return entry.lend()
        except FileNotFoundError:
            return None

    def lock(self, name: str) -> None:
        """Take the lock of an entry; wait until it is free.

        The kernel releases it when the process ends. Raises OSError.
        """
        self._wait_for(_place(name))

    @contextlib.contextmanager
    def turn(self, most: int, patience: float) -> Iterator[None]:
        """Hold one of `most` slots that all pods share; wait for a free one.

        As with `lock`, the kernel releases the slot when the process ends.
        patience: seconds after which the block runs without a slot. Raises OSError.
        """
        mine = self.hold(_TURNS, most, patience)
        try:
            yield
        finally:
            if mine is not None:
                self._release(mine)

    def hold(self, first: int, most: int, patience: float) -> int | None:
        """Wait for one of `most` slots from the offset `first`, and hold it until this process ends.

        patience: the longest time to wait, in seconds.
        Returns the slot's offset, or None if none was free in that time. Raises OSError.
        """
        # fcntl(2) can wait for one lock, but not for the first free one of several: so they are polled.
        deadline = time.monotonic() + patience
        while (mine := self._first_free(first, most)) is None and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        return mine

    def _first_free(self, first: int, most: int) -> int | None:
        return next((each for each in range(first, first + most) if self._take(each)), None)

    def keep(self, about: About, code: int) -> int:
        """Create an entry of compiled code; return it as `Entry.lend` does.

        The caller holds the lock of its name. The entry is complete when it appears (rename(2)). Raises OSError.
        """
        name = about.key.name
        new = _NEW + name
        remove_tree(self.fd, new)  # left by a killed process, since the caller holds the lock
        os.mkdir(new, 0o711, dir_fd=self.fd)
        try:
            with Entry.open(self.fd, new) as entry:
                entry.name = name
                os.fchmod(entry.fd, 0o711)  # independent of the umask: the container's user must be able to search it
                _copy(code, entry.fd)
                entry.complete(about)
                self.remove(name)
                os.rename(new, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
                return entry.lend()
        except BaseException:
            remove_tree(self.fd, new)
            raise

    def remove(self, name: str) -> None:
        """Remove the entry of this name. Containers that use it are not affected. Raises OSError."""
        gone = f"{_GONE}{name}-{os.urandom(4).hex()}"
        with contextlib.suppress(FileNotFoundError):
            os.rename(name, gone, src_dir_fd=self.fd, dst_dir_fd=self.fd)
            remove_tree(self.fd, gone)

    def entries(self) -> Iterator[Listed]:
        """All readable entries, in no order."""
        for name in os.listdir(self.fd):
            with contextlib.suppress(FileNotFoundError, Broken):
                yield self._listed(name)

    def _listed(self, name: str) -> Listed:
        """Describe an entry. Raises FileNotFoundError or Broken."""
        if not _NAME.fullmatch(name):
            raise Broken("not an entry's name")
        with Entry.open(self.fd, name) as entry:
            return Listed(name, entry.about(), entry.used(), entry.disk_bytes())

    def prune(self, size: int, useless: Callable[[Listed], bool] = lambda entry: False) -> list[Listed]:
        """Remove the least recently used entries until the rest takes at most `size` bytes.

        useless: returns whether to remove an entry in any case. Files that are not entries are removed too.
        Returns the removed entries. Raises OSError.
        """
        self._wait_for(_WHOLE)
        try:
            self._sweep()
            removed, total = [], 0
            for entry in sorted(self.entries(), key=lambda entry: -entry.used):
                total += entry.disk_bytes
                if total > size or useless(entry):
                    total -= entry.disk_bytes
                    self.remove(entry.name)
                    removed.append(entry)
            return removed
        finally:
            self._release(_WHOLE)

    def _sweep(self) -> None:
        """Remove incomplete entries of killed processes, and all files that are not entries."""
        for name in set(os.listdir(self.fd)) - {_LOCK, KNOWN}:
            try:
                self._listed(name)
            except FileNotFoundError:
                continue
            except Broken:
                if not (name.startswith(_NEW) and self._is_locked(name.removeprefix(_NEW))):
                    remove_tree(self.fd, name)

    def _is_locked(self, name: str) -> bool:
        try:
            where = _place(name)
        except ValueError:
            return False
        if not self._take(where):
            return True
        self._release(where)
        return False

    def _wait_for(self, where: int) -> None:
        fcntl.lockf(self._lock_file(), fcntl.LOCK_EX, 1, where)

    def _take(self, where: int) -> bool:
        """Try to take the lock at an offset. Returns whether it was free."""
        try:
            fcntl.lockf(self._lock_file(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, where)
        except (BlockingIOError, PermissionError):  # fcntl(2): both mean that another process holds it
            return False
        return True

    def _release(self, where: int) -> None:
        fcntl.lockf(self._lock_file(), fcntl.LOCK_UN, 1, where)

    def _lock_file(self) -> int:
        # One descriptor only: fcntl(2) releases all of a process' locks on a file when any descriptor of it is closed.
        if self._lock < 0:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._lock = os.open(_LOCK, flags, 0o600, dir_fd=self.fd)
        return self._lock


def remove_tree(directory: int, name: str) -> None:
    """Remove a file, a link, or a directory tree from an open directory. Raises OSError."""
    try:
        if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            # Not by its path: the directory may have been moved or mounted over since it was opened.
            shutil.rmtree(f"/proc/self/fd/{directory}/{name}", ignore_errors=True)
        else:
            os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass


def _place(name: str) -> int:
    """The offset of an entry's lock. Raises ValueError if `name` is no entry's name."""
    return int(name[:15], 16) + 1


def _copy(code: int, directory: int) -> None:
    with Fd(os.open(CODE, _NEW_FILE, 0o600, dir_fd=directory)) as target:
        offset = 0
        while copied := os.sendfile(target, code, offset, _COPY_BYTES):
            offset += copied
