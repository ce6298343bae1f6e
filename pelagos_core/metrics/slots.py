"""The file in which all daemons of a node count: a header, and one slot for each daemon.

    header   0      the layout's name; at _HINT the number of a slot that may be free; at _NAMES names of engines
    slots    4096   _SLOT_BYTES each: the cells of `families`, in the processor's byte order

A daemon holds a record lock on its slot (fcntl(2), F_SETLK) and writes to no other slot. The kernel releases the lock
when the daemon exits or is killed; forked children do not inherit it. The next daemon takes a free slot and adds to the
values in it. So the sum over all slots never decreases, a killed daemon loses no counts, and there are never more slots
than the largest number of daemons at a time. Reading needs no daemon.

Only root can read or write the file. It is in /run, so all counts start at zero after a boot.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import time
from array import array
from collections.abc import Iterator
from typing import NamedTuple

from pelagos_core.errors import FailedPrecondition, PermissionDenied
from pelagos_core.metrics import families
from pelagos_core.ownership import is_written_by

DIRECTORY = "/run/pelagos/metrics"
VARIABLE = "PELAGOS_METRICS"
OFF = "off"

_HEADER_BYTES = 4096
_HINT = 64
_NAMES, _NAME_BYTES = 128, 64
_FIXED = ("", "native")
FIXED_NAMES = dict(enumerate(_FIXED))
"""The first engine numbers, whose names are not in the header; the empty name: no engine is chosen yet."""
_SLOT_BYTES = -(-families.CELLS * 8 // _HEADER_BYTES) * _HEADER_BYTES
_ITEM, _MOST = "Q", (1 << 64) - 1
_NUMBER = struct.Struct("=I")
_LOOK_AT_ALL = 64  # when the file has a multiple of it, the next daemon tries all slots, for those of killed daemons
_MOST_SLOTS = 1 << 16
_NAMES_TRIES, _NAMES_PAUSE = 50, 0.001  # seconds; once for each engine of a daemon
_BUSY = (errno.EAGAIN, errno.EACCES)  # fcntl(2): another process has the lock


def directory() -> str:
    """The directory of the file; empty if PELAGOS_METRICS turns metrics off, or if this user has none."""
    named = os.environ.get(VARIABLE, "")
    if named:
        return "" if named == OFF else named
    return DIRECTORY if os.geteuid() == 0 else ""


class Slot:
    """The slot of this daemon. A forked child must not use it."""

    def __init__(self, file: int, index: int, cells: array[int]) -> None:
        """Arguments: file: the open file; `close` closes it. index: the slot's number. cells: its current values."""
        self._file = file
        self._index = index
        self._engines = {"": families.NO_ENGINE}
        self.cells = cells

    @classmethod
    def take(cls, place: str) -> Slot:
        """Lock a free slot of the file in a directory; the file is created if it is missing.

        Takes a few system calls. Raises OSError; PermissionDenied if others can write the file; FailedPrecondition if
        all slots are in use.
        """
        file = _open(place)
        try:
            index = _locked(file)
            cells = array(_ITEM, bytes(families.CELLS * 8))
            data = os.pread(file, families.CELLS * 8, _offset(index))
            if data:
                cells = array(_ITEM, data.ljust(families.CELLS * 8, b"\0"))
            slot = cls(file, index, cells)
            slot._clear_gauges()
        except BaseException:
            os.close(file)
            raise
        return slot

    def add(self, cell: int, by: int) -> None:
        """Add to a cell in memory; the result is limited to the range of a cell. by: may be negative."""
        self.cells[cell] = min(_MOST, max(0, self.cells[cell] + by))

    def write(self, first: int, last: int) -> None:
        """Write the cells from `first` to `last` - 1 to the file. Raises OSError."""
        os.pwrite(self._file, memoryview(self.cells)[first:last], _offset(self._index) + first * 8)

    def engine(self, name: str) -> int:
        """The number of an engine; a new name is added to the header. Raises OSError."""
        number = self._engines.get(name)
        if number is None:
            number = self._engines[name] = _number(self._file, name)
        return number

    def close(self) -> None:
        """Release the slot for another daemon. It is also released if OSError is raised."""
        try:
            self._clear_gauges()
            # Unlock before the hint is written: a daemon skips a hinted slot that is still locked.
            fcntl.lockf(self._file, fcntl.LOCK_UN, _SLOT_BYTES, _offset(self._index))
            if self._index < _hint(self._file):
                os.pwrite(self._file, _NUMBER.pack(self._index), _HINT)
        finally:
            os.close(self._file)

    def _clear_gauges(self) -> None:
        for cells in families.gauge_cells():
            first, last = cells.start, cells.stop
            if any(self.cells[first:last]):
                self.cells[first:last] = array(_ITEM, bytes(8 * len(cells)))
                self.write(first, last)


class Reading(NamedTuple):
    """The values of one slot. is_live: whether a daemon holds it; the gauges are valid only then."""

    cells: array[int]
    is_live: bool


class SlotFile:
    """The file, opened for reading. Its `with` block closes it.

    A process with a slot must not use it: record locks belong to a process, and closing the file would release them.
    """

    def __init__(self, place: str) -> None:
        """Open the file in the directory `place`.

        Raises FileNotFoundError if no daemon has counted yet, OSError, PermissionDenied, or FailedPrecondition.
        """
        self._file = _open(place, create=False)

    def engines(self) -> dict[int, str]:
        """The name of each engine that was counted."""
        names = dict(enumerate(_names(self._file)))
        names[families.OTHER_ENGINE] = "other"
        return names

    def readings(self) -> Iterator[Reading]:
        """Yield the values of all slots."""
        for index in range(_count(self._file)):
            data = os.pread(self._file, families.CELLS * 8, _offset(index))
            is_live = not _try_lock(self._file, index, fcntl.LOCK_SH)
            if not is_live:
                fcntl.lockf(self._file, fcntl.LOCK_UN, _SLOT_BYTES, _offset(index))
                if index < _hint(self._file):  # the slot of a daemon that was killed
                    os.pwrite(self._file, _NUMBER.pack(index), _HINT)
            yield Reading(array(_ITEM, data.ljust(families.CELLS * 8, b"\0")), is_live)

    def __enter__(self) -> SlotFile:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)


def _open(place: str, *, create: bool = True) -> int:
    if create:
        os.makedirs(place, mode=0o700, exist_ok=True)
    folder = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not is_written_by(os.fstat(folder), os.geteuid()):
            raise PermissionDenied(f"directory {place!r} can be written by others")
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        file = os.open(families.LAYOUT, flags, 0o600, dir_fd=folder)
    finally:
        os.close(folder)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or not is_written_by(status, os.geteuid()):
            raise PermissionDenied(f"file {families.LAYOUT!r} in {place!r} can be written by others")
    except BaseException:
        os.close(file)
        raise
    return file


def _locked(file: int) -> int:
    """Lock a free slot, starting at the hint; return its number."""
    count, hint = _count(file), _hint(file)
    first = 0 if hint >= count and count % _LOOK_AT_ALL == 0 else min(hint, count)
    for index in range(first, _MOST_SLOTS):
        if _try_lock(file, index, fcntl.LOCK_EX):
            os.pwrite(file, _NUMBER.pack(index + 1), _HINT)
            return index
    raise FailedPrecondition(f"all {_MOST_SLOTS} slots of metrics are taken")


def _try_lock(file: int, index: int, kind: int) -> bool:
    try:
        fcntl.lockf(file, kind | fcntl.LOCK_NB, _SLOT_BYTES, _offset(index))
    except OSError as error:
        if error.errno not in _BUSY:
            raise
        return False
    return True


def _offset(index: int) -> int:
    return _HEADER_BYTES + index * _SLOT_BYTES


def _count(file: int) -> int:
    return max(0, -((_HEADER_BYTES - os.fstat(file).st_size) // _SLOT_BYTES))


def _hint(file: int) -> int:
    data = os.pread(file, _NUMBER.size, _HINT)
    return int(_NUMBER.unpack(data)[0]) if len(data) == _NUMBER.size else 0


def _names(file: int) -> list[str]:
    """The engines' names, indexed by their numbers; the fixed ones first."""
    size = (families.OTHER_ENGINE - len(_FIXED)) * _NAME_BYTES
    table = os.pread(file, size, _NAMES)
    texts = (table[at : at + _NAME_BYTES].rstrip(b"\0") for at in range(0, len(table), _NAME_BYTES))
    return [*_FIXED, *(text.decode(errors="replace") for text in texts if text)]


def _number(file: int, name: str) -> int:
    """The number of an engine's name; a new name is added to the header. A long name is cut.

    If another daemon does not release the header's lock, for example because it is stopped, the engine counts as one of
    the others.
    """
    name = name.encode(errors="replace")[:_NAME_BYTES].decode(errors="ignore")
    if name in (known := _names(file)):
        return known.index(name)
    if not _lock_names(file):
        return families.OTHER_ENGINE
    try:
        known = _names(file)
        if name not in known and len(known) < families.OTHER_ENGINE:
            place = _NAMES + (len(known) - len(_FIXED)) * _NAME_BYTES
            os.pwrite(file, name.encode().ljust(_NAME_BYTES, b"\0"), place)
            known.append(name)
    finally:
        fcntl.lockf(file, fcntl.LOCK_UN, 1, 0)
    return known.index(name) if name in known else families.OTHER_ENGINE


def _lock_names(file: int) -> bool:
    """Lock the names, so that two daemons do not use the same position; return whether it succeeded.

    The lock is held for two system calls. It is polled, because waiting in the kernel would block the event loop.
    """
    for _ in range(_NAMES_TRIES):
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)
        except OSError as error:
            if error.errno not in _BUSY:
                raise
        else:
            return True
        time.sleep(_NAMES_PAUSE)
    return False
