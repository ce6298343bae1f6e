"""WASI 0.1: descriptors and preopened directories."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pelagos_core.conformance import modules
from pelagos_core.conformance.runner import Runner
from pelagos_core.conformance.wasi.area import Area
from pelagos_core.conformance.wasi.guest import Guest, Out
from pelagos_core.conformance.wasi.names import APPEND, CREAT, CUR, DIRECTORY, END, SET, Errno, Filetype, Rights

feature = pytest.mark.feature("WASI 0.1: descriptors")
_NONE = 4000  # a number that is no open descriptor
_NOT_OF_A_DIRECTORY = {Errno.ISDIR, Errno.BADF, Errno.NOTCAPABLE}


@feature
def test_a_preopen_has_a_name(guest: Guest) -> None:
    preopens = guest.preopens()
    assert "/" in preopens
    for name, fd in preopens.items():
        errno = guest.errno("fd_prestat_dir_name", fd, Out(64), 0)
        assert not name or errno in {Errno.INVAL, Errno.NAMETOOLONG}
        assert guest.errno("fd_prestat_dir_name", fd, Out(64), len(name) + 1) is Errno.SUCCESS
    assert guest.errno("fd_prestat_get", _NONE, Out(8)) is Errno.BADF


@feature
def test_a_preopen_has_the_rights_of_a_directory(guest: Guest) -> None:
    fd = guest.preopens()["/"]
    found = guest.fdstat(fd)
    own = (
        Rights.PATH_CREATE_DIRECTORY
        | Rights.PATH_CREATE_FILE
        | Rights.PATH_LINK_SOURCE
        | Rights.PATH_LINK_TARGET
        | Rights.PATH_OPEN
        | Rights.FD_READDIR
        | Rights.PATH_READLINK
        | Rights.PATH_RENAME_SOURCE
        | Rights.PATH_RENAME_TARGET
        | Rights.PATH_SYMLINK
        | Rights.PATH_REMOVE_DIRECTORY
        | Rights.PATH_UNLINK_FILE
        | Rights.PATH_FILESTAT_GET
        | Rights.PATH_FILESTAT_SET_TIMES
        | Rights.FD_FILESTAT_GET
        | Rights.FD_FILESTAT_SET_TIMES
    )
    inherited = own | Rights.POLL_FD_READWRITE | Rights(sum(_FILE_RIGHTS))
    assert Rights(own & ~found.base) == Rights(0)
    assert Rights(inherited & ~found.inheriting) == Rights(0)
    assert found.filetype is Filetype.DIRECTORY
    for oflags, base, inheriting in (
        (0, found.base, found.inheriting),
        (0, 0, 0),
        (DIRECTORY, 0, 0),
        (DIRECTORY, Rights.FD_READ, 0),
    ):
        guest.close_fd(guest.open(fd, ".", oflags, base, inheriting))
    assert guest.refused(fd, ".", DIRECTORY, base=Rights.FD_READ | Rights.FD_WRITE) is Errno.ISDIR


_FILE_RIGHTS = (
    Rights.FD_DATASYNC,
    Rights.FD_READ,
    Rights.FD_SEEK,
    Rights.FD_FDSTAT_SET_FLAGS,
    Rights.FD_SYNC,
    Rights.FD_TELL,
    Rights.FD_WRITE,
    Rights.FD_ADVISE,
    Rights.FD_ALLOCATE,
    Rights.FD_FILESTAT_GET,
    Rights.FD_FILESTAT_SET_SIZE,
    Rights.FD_FILESTAT_SET_TIMES,
)


@feature
def test_a_closed_descriptor_is_invalid(area: Area) -> None:
    guest = area.guest
    fd = guest.open(area.fd, "file", CREAT)
    guest.close_fd(fd)
    assert guest.errno("fd_close", fd) is Errno.BADF
    assert guest.errno("fd_fdstat_get", fd, Out(24)) is Errno.BADF
    assert guest.errno("fd_close", _NONE) is Errno.BADF
    assert guest.transfer("fd_write", _NONE)[0] is Errno.BADF
    assert guest.transfer("fd_read", _NONE)[0] is Errno.BADF


@feature
def test_a_preopen_can_be_closed(fresh: Callable[[], Guest]) -> None:
    guest = fresh()
    fd = guest.preopens()["/"]
    directory = guest.directory("/")
    guest.close_fd(fd)
    assert guest.errno("fd_fdstat_get", fd, Out(24)) is Errno.BADF
    assert guest.fdstat(directory).filetype is Filetype.DIRECTORY


@feature
def test_a_descriptor_replaces_another(area: Area) -> None:
    guest = area.guest
    rights = Rights.FD_READ | Rights.FD_WRITE
    source, target = (guest.open(area.fd, name, CREAT, rights) for name in ("a", "b"))
    before = guest.fdstat(source)
    guest.get("fd_renumber", source, target)
    assert guest.errno("fd_close", source) is Errno.BADF
    assert guest.fdstat(target) == before
    assert guest.errno("fd_renumber", target, source) is Errno.BADF
    assert guest.write(target, b"x") == 1
    assert (area.path / "a").read_bytes() == b"x"
    guest.close_fd(target)


@feature
def test_a_descriptor_replaces_a_preopen(fresh: Callable[[], Guest]) -> None:
    guest = fresh()
    fd = guest.preopens()["/"]
    directory = guest.directory("/work")
    before = guest.filestat(directory)
    guest.get("fd_renumber", directory, fd)
    after = guest.filestat(fd)
    assert (after.dev, after.ino) == (before.dev, before.ino)
    assert guest.errno("fd_fdstat_get", directory, Out(24)) is Errno.BADF


@feature
@pytest.mark.parametrize("stream", [0, 1, 2])
def test_a_stream_gets_another_number(run: Runner, stream: int) -> None:
    """The guest exits with 0, or with the number of the step that has failed."""
    definitions = """
      (func $check (param $wrong i32) (param $code i32)
        (if (local.get $wrong) (then (call $proc_exit (local.get $code)))))"""
    imports = """
  (import "wasi_snapshot_preview1" "fd_renumber" (func $fd_renumber (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $fd_fdstat_get (param i32 i32) (result i32)))
"""
    body = f"""
      (i32.store (i32.const 512) (call $open (i32.const 4) (i32.const 1) (i64.const 64)))
      (call $check (call $fd_renumber (i32.const {stream}) (i32.load (i32.const 512))) (i32.const 1))
      (call $check (call $fd_fdstat_get (i32.load (i32.const 512)) (i32.const 640)) (i32.const 2))
      (call $check (i32.ne (call $fd_fdstat_get (i32.const {stream}) (i32.const 640)) (i32.const {Errno.BADF}))
        (i32.const 3))"""
    text = modules.program(body, definitions + modules.text(1024, "file")).replace("(module", f"(module {imports}", 1)
    ended = run(text)
    assert ended.code == 0


@feature
def test_a_descriptor_has_a_file_type(area: Area) -> None:
    guest = area.guest
    read, write = Rights.FD_READ, Rights.FD_WRITE
    guest.create(area.fd, "file")
    for rights in (read, write, read | write):
        fd = guest.open(area.fd, "file", 0, rights)
        found = guest.fdstat(fd)
        assert found.filetype is Filetype.REGULAR_FILE
        assert Rights(found.base & (read | write)) == rights
        guest.close_fd(fd)
    assert guest.fdstat(area.fd).filetype is Filetype.DIRECTORY
    assert guest.fdstat(area.fd).flags == 0
    assert not guest.fdstat(area.fd).base & (Rights.FD_SEEK | Rights.FD_FILESTAT_SET_SIZE)
    assert guest.errno("fd_fdstat_get", _NONE, Out(24)) is Errno.BADF


@feature
def test_a_file_and_a_pipe_are_not_terminals(area: Area) -> None:
    """The conditions of isatty(3) in the C library of WASI."""
    guest = area.guest
    for fd in (guest.open(area.fd, "file", CREAT), 0, 1, 2):
        found = guest.fdstat(fd)
        is_terminal = found.filetype is Filetype.CHARACTER_DEVICE and not found.base & (Rights.FD_SEEK | Rights.FD_TELL)
        assert fd < 3 or not is_terminal


@feature
def test_appending_is_switched_on_and_off(area: Area) -> None:
    guest = area.guest
    fd = guest.open(area.fd, "file", CREAT, fdflags=APPEND)
    assert guest.fdstat(fd).flags & APPEND
    guest.write(fd, b"11")
    assert guest.number("fd_seek", fd, 0, SET, Out(8)) == 0
    guest.write(fd, b"22")
    assert (area.path / "file").read_bytes() == b"1122"
    guest.get("fd_fdstat_set_flags", fd, 0)
    assert not guest.fdstat(fd).flags & APPEND
    assert guest.number("fd_seek", fd, 0, SET, Out(8)) == 0
    guest.write(fd, b"33")
    assert (area.path / "file").read_bytes() == b"3322"
    guest.get("fd_fdstat_set_flags", fd, APPEND)
    guest.write(fd, b"44")
    assert (area.path / "file").read_bytes() == b"332244"
    assert guest.errno("fd_fdstat_set_flags", _NONE, 0) is Errno.BADF


@feature
def test_rights_are_dropped_permanently_or_not_at_all(area: Area) -> None:
    guest = area.guest
    fd = guest.open(area.fd, "file", CREAT, Rights.FD_READ | Rights.FD_WRITE | Rights.FD_SEEK | Rights.FD_TELL)
    before = guest.fdstat(fd)
    errno = guest.errno("fd_fdstat_set_rights", fd, before.base, before.inheriting)
    if errno is Errno.NOTSUP:  # an engine need not support rights
        return
    assert errno is Errno.SUCCESS
    less = before.base & ~(Rights.FD_READ | Rights.FD_WRITE)
    guest.get("fd_fdstat_set_rights", fd, less, before.inheriting)
    assert guest.fdstat(fd).base == less
    assert guest.transfer("fd_read", fd)[0] in {Errno.BADF, Errno.NOTCAPABLE}
    assert guest.transfer("fd_write", fd)[0] in {Errno.BADF, Errno.NOTCAPABLE}
    more = less | Rights.FD_READ | Rights.FD_WRITE
    assert guest.errno("fd_fdstat_set_rights", fd, more, before.inheriting) is Errno.NOTCAPABLE


@feature
def test_truncation_fails_after_its_right_was_dropped(area: Area) -> None:
    guest = area.guest
    guest.create(area.fd, "file", b"content")
    before = guest.fdstat(area.fd)
    if not before.base & Rights.PATH_FILESTAT_SET_SIZE:
        return
    less = before.base & ~Rights.PATH_FILESTAT_SET_SIZE
    guest.get("fd_fdstat_set_rights", area.fd, less, before.inheriting)
    assert not guest.fdstat(area.fd).base & Rights.PATH_FILESTAT_SET_SIZE
    assert guest.refused(area.fd, "file", 8) in {Errno.PERM, Errno.NOTCAPABLE}
    assert (area.path / "file").read_bytes() == b"content"


@feature
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("fd_seek", (0, CUR, Out(8))),
        ("fd_seek", (0, SET, Out(8))),
        ("fd_seek", (0, END, Out(8))),
        ("fd_tell", (Out(8),)),
        ("fd_allocate", (0, 1)),
        ("fd_filestat_set_size", (0,)),
    ],
)
def test_a_directory_has_no_position_and_no_size(area: Area, name: str, arguments: tuple[int | Out, ...]) -> None:
    expected = _NOT_OF_A_DIRECTORY | ({Errno.INVAL} if name == "fd_filestat_set_size" else set())
    assert area.guest.errno(name, area.fd, *arguments) in expected


@feature
@pytest.mark.parametrize("name", ["fd_read", "fd_write", "fd_pread", "fd_pwrite"])
def test_a_directory_has_no_content(area: Area, name: str) -> None:
    at = 0 if name.startswith("fd_p") else None
    assert area.guest.transfer(name, area.fd, at=at)[0] in _NOT_OF_A_DIRECTORY


@feature
def test_a_directory_and_a_stream_have_a_status(area: Area) -> None:
    assert area.guest.filestat(area.fd).filetype is Filetype.DIRECTORY
    assert area.guest.errno("fd_filestat_get", 1, Out(64)) in {Errno.SUCCESS, Errno.BADF, Errno.NOTCAPABLE}
    assert area.guest.errno("fd_filestat_get", _NONE, Out(64)) is Errno.BADF
