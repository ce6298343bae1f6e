"""Detached mounts of entries of the store, kept open for the next process that needs the same code.

Opening an entry, checking it and cloning its mount takes some twenty system calls. The process that closes the
last descriptor of a detached mount waits about a millisecond for the kernel to dissolve it: without a kept
descriptor that is the init process.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections import OrderedDict
from dataclasses import dataclass

from pelagos_core.cache.entry import SEEN
from pelagos_core.cache.store import Store
from pelagos_core.ownership import is_written_by
from pelagos_core.plugin.entrypoint import CODE

_MOST = 8  # modules that several containers of a pod use, or that are started repeatedly
_TOUCH_SECONDS = 60.0
_Stamp = tuple[int, ...]


@dataclass(slots=True)
class _Kept:
    """A kept mount. stamps: of the store, the entry and its code. touched: time.monotonic() of the last utime(2)."""

    mount: int
    stamps: tuple[_Stamp, ...]
    touched: float


class KeptMounts:
    """The kept mounts of a daemon. Their users must not be able to change a mount's attributes, since it is shared."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def find(self, directory: str, name: str) -> int | None:
        """Like `Store.find` of the store in `directory`. The caller closes the descriptor.

        Raises OSError, or PermissionDenied if another user can write to the store.
        """
        path = os.path.join(directory, name)
        kept = self._kept.get(path)
        if kept is not None:
            if _stamps(directory, path) == kept.stamps:
                self._kept.move_to_end(path)
                _touch(kept, path)
                return os.dup(kept.mount)
            self._forget(path)
        with Store(directory) as store:
            mount = store.find(name)
        if mount is not None:
            self.keep(directory, name, mount)
        return mount

    def close(self) -> None:
        """Close all kept mounts."""
        for path in list(self._kept):
            self._forget(path)

    def keep(self, directory: str, name: str, mount: int) -> None:
        """Keep a mount for `find`, if it is of the current entry. The caller keeps the descriptor."""
        path = os.path.join(directory, name)
        stamps = _stamps(directory, path)
        with contextlib.suppress(OSError):  # the entry has just been removed, or descriptors are exhausted
            # Equal stamps mean that the mounted directory is still the entry with this name.
            shown = _stamp(os.fstat(mount)), _stamp(os.stat(CODE, dir_fd=mount, follow_symlinks=False))
            if stamps[1:] == shown and path not in self._kept:
                self._kept[path] = _Kept(os.dup(mount), stamps, time.monotonic())
        while len(self._kept) > _MOST:
            self._forget(next(iter(self._kept)))

    def _forget(self, path: str) -> None:
        os.close(self._kept.pop(path).mount)


def _stamps(directory: str, path: str) -> tuple[_Stamp, ...]:
    """Stamps of the store, the entry and its code; empty if one is missing or another user can write to it.

    By path: if a path leads elsewhere than when the mount was kept, the inode numbers differ.
    """
    try:
        found = [os.lstat(each) for each in (directory, path, f"{path}/{CODE}")]
    except OSError:
        return ()
    if not all(is_written_by(status, os.geteuid(), secret=status is found[0]) for status in found):
        return ()
    return tuple(map(_stamp, found))


def _stamp(status: os.stat_result) -> _Stamp:
    """Identifies a file, and for a regular file its content: no system call sets the ctime (entry.py)."""
    number = (status.st_dev, status.st_ino, status.st_mode)
    if stat.S_ISDIR(status.st_mode):
        return number  # its times change when files in it are created
    return (*number, status.st_nlink, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _touch(kept: _Kept, path: str) -> None:
    """Record the use, by which the store is pruned. Once a minute is precise enough."""
    now = time.monotonic()
    if now - kept.touched >= _TOUCH_SECONDS:
        kept.touched = now
        with contextlib.suppress(OSError):
            os.utime(f"{path}/{SEEN}", follow_symlinks=False)
