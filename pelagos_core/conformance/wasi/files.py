"""WASI 0.1: the content, sizes and times of files."""

from __future__ import annotations

import os

import pytest

from pelagos_core.conformance.wasi.area import Area
from pelagos_core.conformance.wasi.guest import Guest, Out
from pelagos_core.conformance.wasi.names import (
    APPEND,
    ATIM,
    ATIM_NOW,
    CREAT,
    CUR,
    END,
    FOLLOW,
    MTIM,
    MTIM_NOW,
    SET,
    SYNC,
    TRUNC,
    Errno,
    Filetype,
    Rights,
)

content = pytest.mark.feature("WASI 0.1: reading and writing")
status = pytest.mark.feature("WASI 0.1: sizes and times")
_NONE = 4000
_SECOND = 1_000_000_000
_NOT_OPEN_FOR_IT = {Errno.BADF, Errno.NOTCAPABLE, Errno.ACCES}


@content
def test_written_bytes_are_read_back(area: Area) -> None:
    guest = area.guest
    fd = guest.open(area.fd, "file", CREAT)
    data = os.urandom(100_000)
    assert guest.write(fd, data) == len(data)
    assert (area.path / "file").read_bytes() == data
    assert guest.number("fd_seek", fd, 0, SET, Out(8)) == 0
    assert guest.read(fd, len(data)) == data
    assert guest.read(fd, 10) == b""


@content
def test_several_buffers_are_used_in_order(area: Area) -> None:
    guest = area.guest
    fd = guest.open(area.fd, "file", CREAT)
    text = b"one, two, three"
    # An engine may use only the first buffers, and return how many bytes it has written.
    written = guest.write(fd, text, sizes=(5, 0, 5, 5))
    assert written in {5, 10, 15}
    assert (area.path / "file").read_bytes() == text[:written]
    (area.path / "file").write_bytes(text)
    guest.get("fd_seek", fd, 0, SET, Out(8))
    read = guest.read(fd, 15, sizes=(1, 2, 0, 12))
    assert len(read) in {1, 3, 15}
    assert read == text[: len(read)]


@content
def test_reads_and_writes_at_an_offset_do_not_move_the_position(area: Area) -> None:
    guest = area.guest
    fd = guest.open(area.fd, "file", CREAT)
    guest.write(fd, b"0123")
    assert guest.write(fd, b"ab", at=2) == 2
    assert guest.write(fd, b"xyz", at=6) == 3
    assert (area.path / "file").read_bytes() == b"01ab\0\0xyz"
    assert guest.read(fd, 4, at=1) == b"1ab\0"
    assert guest.read(fd, 9, at=0, sizes=(4, 5)) in {b"01ab", b"01ab\0\0xyz"}
    assert guest.read(fd, 4, at=7) == b"yz"
    assert guest.read(fd, 4, at=100) == b""
    assert guest.number("fd_tell", fd, Out(8)) == 4


@content
def test_a_position_is_returned_and_moved(area: Area) -> None:
    guest = area.guest
    fd = guest.open(area.fd, "file", CREAT)
    assert guest.number("fd_tell", fd, Out(8)) == 0
    guest.write(fd, bytes(100))
    assert guest.number("fd_tell", fd, Out(8)) == 100
    assert guest.number("fd_seek", fd, -50, CUR, Out(8)) == 50
    assert guest.number("fd_seek", fd, -10, END, Out(8)) == 90
    assert guest.number("fd_seek", fd, 1000, CUR, Out(8)) == 1090
    assert guest.errno("fd_seek", fd, -2000, CUR, Out(8)) is Errno.INVAL
    assert guest.number("fd_tell", fd, Out(8)) == 1090
    assert guest.number("fd_seek", fd, 0, SET, Out(8)) == 0
    assert guest.errno("fd_seek", _NONE, 0, SET, Out(8)) is Errno.BADF
    assert guest.errno("fd_tell", _NONE, Out(8)) is Errno.BADF


@content
def test_a_write_to_a_file_that_appends_goes_to_its_end(area: Area) -> None:
    guest = area.guest
    fd = guest.open(area.fd, "file", CREAT | TRUNC, Rights.FD_WRITE | Rights.FD_SEEK | Rights.FD_TELL, 0, APPEND)
    guest.write(fd, b"12")
    guest.get("fd_seek", fd, 0, SET, Out(8))
    guest.write(fd, b"34")
    assert guest.number("fd_seek", fd, 0, CUR, Out(8)) == 4
    assert guest.write(fd, b"567", at=0) == 3
    assert guest.number("fd_seek", fd, 0, CUR, Out(8)) == 4
    # At the position, as in POSIX, or at the end, as on Linux.
    assert (area.path / "file").read_bytes() in (b"5674", b"1234567")


@content
def test_a_file_is_open_only_for_the_requested_access(area: Area) -> None:
    guest = area.guest
    guest.create(area.fd, "file", b"content")
    reader = guest.open(area.fd, "file", 0, Rights.FD_READ)
    writer = guest.open(area.fd, "file", 0, Rights.FD_WRITE)
    assert guest.transfer("fd_write", reader)[0] in _NOT_OPEN_FOR_IT
    assert guest.transfer("fd_read", writer)[0] in _NOT_OPEN_FOR_IT
    assert guest.read(reader, 10) == b"content"
    assert guest.write(writer, b"CON") == 3
    both = guest.open(area.fd, "file", 0, Rights.FD_READ | Rights.FD_WRITE)
    assert guest.read(both, 10) == b"CONtent"
    assert guest.write(both, b"!") == 1
    assert (area.path / "file").read_bytes() == b"CONtent!"


@content
def test_a_write_is_visible_at_once_through_another_descriptor(area: Area) -> None:
    guest = area.guest
    reader = guest.open(area.fd, "file", CREAT, Rights.FD_READ)
    writer = guest.open(area.fd, "file", 0, Rights.FD_WRITE)
    assert guest.read(reader, 1) == b""
    guest.write(writer, b"x")
    assert guest.read(reader, 1) == b"x"


@content
def test_a_file_is_truncated_when_it_is_opened(area: Area) -> None:
    guest = area.guest
    guest.create(area.fd, "file", b"to be truncated")
    fd = guest.open(area.fd, "file", CREAT | TRUNC, Rights.FD_READ | Rights.FD_WRITE)
    assert guest.read(fd, 100) == b""
    assert (area.path / "file").read_bytes() == b""


@content
@pytest.mark.parametrize("name", ["fd_sync", "fd_datasync"])
def test_a_file_is_synchronised(area: Area, name: str) -> None:
    guest = area.guest
    fd = guest.open(area.fd, "file", CREAT)
    guest.write(fd, b"x")
    assert guest.errno(name, fd) is Errno.SUCCESS
    assert guest.errno(name, _NONE) is Errno.BADF


@content
def test_advice_is_accepted(area: Area) -> None:
    guest = area.guest
    fd = guest.open(area.fd, "file", CREAT)
    guest.get("fd_filestat_set_size", fd, 100)
    for advice in range(6):
        assert guest.errno("fd_advise", fd, 10, 50, advice) is Errno.SUCCESS
    assert guest.filestat(fd).size == 100
    assert guest.errno("fd_advise", _NONE, 0, 0, 0) is Errno.BADF


@status
def test_space_is_allocated_or_allocation_is_not_supported(area: Area) -> None:
    guest = area.guest
    fd = guest.open(area.fd, "file", CREAT)
    errno = guest.errno("fd_allocate", fd, 0, 100)
    assert errno in {Errno.SUCCESS, Errno.NOTSUP}
    if errno is Errno.SUCCESS:
        assert guest.filestat(fd).size == 100
        guest.get("fd_allocate", fd, 10, 10)
        assert guest.filestat(fd).size == 100
        guest.get("fd_allocate", fd, 90, 20)
        assert guest.filestat(fd).size == 110
    assert guest.errno("fd_allocate", _NONE, 0, 1) in {Errno.BADF, Errno.NOTSUP}


@status
def test_a_size_is_set(area: Area) -> None:
    guest = area.guest
    fd = guest.open(area.fd, "file", CREAT)
    guest.write(fd, b"content")
    guest.get("fd_filestat_set_size", fd, 100)
    assert guest.filestat(fd).size == 100
    assert (area.path / "file").read_bytes() == b"content" + bytes(93)
    guest.get("fd_filestat_set_size", fd, 3)
    assert (area.path / "file").read_bytes() == b"con"
    assert guest.errno("fd_filestat_set_size", _NONE, 0) is Errno.BADF


@status
def test_a_status_matches_the_hosts(area: Area) -> None:
    guest = area.guest
    guest.create(area.fd, "file", b"content")
    guest.create(area.fd, "other")
    there = (area.path / "file").stat()
    fd = guest.open(area.fd, "file")
    for found in (guest.filestat(fd), guest.filestat(area.fd, "file"), guest.filestat(area.fd, "file", follow=True)):
        assert (found.filetype, found.size, found.nlink) == (Filetype.REGULAR_FILE, 7, 1)
        # With a file system that a virtual machine shares, the two sides may see times that differ slightly.
        assert abs(found.mtim - there.st_mtime_ns) < _SECOND
        assert abs(found.ctim - there.st_ctime_ns) < _SECOND
    # Device and inode numbers may differ from the host's, but they must identify files.
    assert guest.filestat(area.fd, "file").ino == guest.filestat(fd).ino
    other = guest.filestat(area.fd, "other")
    assert other.dev == guest.filestat(fd).dev
    assert other.ino != guest.filestat(fd).ino
    assert guest.errno("path_filestat_get", area.fd, 0, "none", Out(64)) is Errno.NOENT
    assert guest.errno("path_filestat_get", area.fd, FOLLOW, "none", Out(64)) is Errno.NOENT
    assert guest.errno("fd_filestat_get", _NONE, Out(64)) is Errno.BADF


def _set_times(guest: Guest, area: Area, fd: int | None, atim: int, mtim: int, flags: int) -> Errno:
    if fd is not None:
        return guest.errno("fd_filestat_set_times", fd, atim, mtim, flags)
    return guest.errno("path_filestat_set_times", area.fd, 0, "file", atim, mtim, flags)


@status
@pytest.mark.parametrize("by_path", [False, True], ids=["fd", "path"])
def test_times_are_set(area: Area, by_path: bool) -> None:
    guest, file = area.guest, area.path / "file"
    opened = guest.open(area.fd, "file", CREAT)
    fd = None if by_path else opened
    guest.write(opened, b"content")
    before = file.stat()
    assert _set_times(guest, area, fd, 5, before.st_mtime_ns - 100, MTIM) is Errno.SUCCESS
    after = file.stat()
    assert (after.st_atime_ns, after.st_mtime_ns) == (before.st_atime_ns, before.st_mtime_ns - 100)
    assert _set_times(guest, area, fd, 1_000_000_007, 5, ATIM) is Errno.SUCCESS
    assert (file.stat().st_atime_ns, file.stat().st_mtime_ns) == (1_000_000_007, before.st_mtime_ns - 100)
    assert guest.filestat(opened).atim == 1_000_000_007
    assert _set_times(guest, area, fd, 0, 0, ATIM_NOW | MTIM_NOW) is Errno.SUCCESS
    assert min(file.stat().st_atime_ns, file.stat().st_mtime_ns) >= before.st_mtime_ns - 20_000_000
    assert file.stat().st_size == 7


@status
@pytest.mark.parametrize("by_path", [False, True], ids=["fd", "path"])
@pytest.mark.parametrize("flags", [MTIM | MTIM_NOW, ATIM | ATIM_NOW])
def test_contradictory_flags_for_times_are_refused(area: Area, by_path: bool, flags: int) -> None:
    guest = area.guest
    fd = guest.open(area.fd, "file", CREAT)
    before = (area.path / "file").stat()
    assert _set_times(guest, area, None if by_path else fd, 100, 200, flags) is Errno.INVAL
    assert (area.path / "file").stat().st_mtime_ns == before.st_mtime_ns


@status
def test_a_file_with_synchronous_writes_has_the_flag(area: Area) -> None:
    guest = area.guest
    arguments = ("path_open", area.fd, 0, "file", CREAT, int(Rights.FD_READ | Rights.FD_WRITE), 0)
    errno = guest.errno(*arguments, APPEND | SYNC, Out(4))
    assert errno in {Errno.SUCCESS, Errno.NOTSUP}
    flags = APPEND | SYNC if errno is Errno.SUCCESS else APPEND
    fd = guest.number(*arguments, flags, Out(4))
    assert guest.fdstat(fd).flags & flags == flags
