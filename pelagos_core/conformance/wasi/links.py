"""WASI 0.1: symbolic and hard links."""

from __future__ import annotations

import pytest

from pelagos_core.conformance.wasi.area import Area
from pelagos_core.conformance.wasi.guest import Out
from pelagos_core.conformance.wasi.names import CREAT, DIRECTORY, FOLLOW, MTIM, TRUNC, Errno, Filetype, Rights

symbolic = pytest.mark.feature("WASI 0.1: symbolic links")
hard = pytest.mark.feature("WASI 0.1: hard links")


@symbolic
def test_a_link_is_created_and_read(area: Area) -> None:
    guest = area.guest
    guest.get("path_symlink", "target", area.fd, "link")
    assert (area.path / "link").readlink().as_posix() == "target"
    data, used = guest.get("path_readlink", area.fd, "link", Out(10), 10, Out(4))
    assert (data, used) == (b"target\0\0\0\0", b"\6\0\0\0")
    data, used = guest.get("path_readlink", area.fd, "link", Out(10), 4, Out(4))
    assert (data, used) == (b"targ\0\0\0\0\0\0", b"\4\0\0\0")
    guest.create(area.fd, "file")
    assert guest.errno("path_readlink", area.fd, "file", Out(10), 10, Out(4)) is Errno.INVAL
    assert guest.errno("path_readlink", area.fd, "none", Out(10), 10, Out(4)) is Errno.NOENT


@symbolic
def test_a_link_is_followed_only_with_the_flag(area: Area) -> None:
    guest = area.guest
    guest.create(area.fd, "target", b"content")
    guest.get("path_symlink", "target", area.fd, "link")
    assert guest.read(guest.open(area.fd, "link", follow=True), 10) == b"content"
    assert guest.refused(area.fd, "link") is Errno.LOOP
    assert guest.refused(area.fd, "link", DIRECTORY) in {Errno.LOOP, Errno.NOTDIR}
    assert guest.refused(area.fd, "link", DIRECTORY, follow=True) is Errno.NOTDIR
    (area.path / "dir").mkdir()
    (area.path / "dir/file").write_bytes(b"below")
    guest.get("path_symlink", "dir", area.fd, "way")
    guest.close_fd(guest.open(area.fd, "way", DIRECTORY, 0, follow=True))
    assert guest.refused(area.fd, "way", DIRECTORY) in {Errno.LOOP, Errno.NOTDIR}
    assert guest.refused(area.fd, "way") in {Errno.LOOP, Errno.ACCES}
    assert guest.read(guest.open(area.fd, "way/file"), 10) == b"below"


@symbolic
def test_a_dangling_link_is_not_opened(area: Area) -> None:
    guest = area.guest
    guest.get("path_symlink", "none", area.fd, "dangling")
    assert guest.refused(area.fd, "dangling") is Errno.LOOP
    assert guest.refused(area.fd, "dangling", DIRECTORY) in {Errno.NOTDIR, Errno.LOOP}
    assert guest.refused(area.fd, "dangling", follow=True) is Errno.NOENT
    guest.get("path_symlink", "loop", area.fd, "loop")
    assert guest.refused(area.fd, "loop") is Errno.LOOP
    assert guest.refused(area.fd, "loop", follow=True) is Errno.LOOP
    guest.get("path_unlink_file", area.fd, "dangling")
    guest.get("path_unlink_file", area.fd, "loop")


@symbolic
def test_a_link_to_an_absolute_path_is_not_created(area: Area) -> None:
    assert area.guest.errno("path_symlink", "/", area.fd, "link") is not Errno.SUCCESS
    assert not list(area.path.iterdir())


@symbolic
def test_a_link_does_not_replace_a_file(area: Area) -> None:
    guest = area.guest
    (area.path / "file").touch()
    (area.path / "dir").mkdir()
    assert guest.errno("path_symlink", "x", area.fd, "file") in {Errno.EXIST, Errno.NOENT}
    assert guest.errno("path_symlink", "x", area.fd, "dir") in {Errno.EXIST, Errno.NOENT}
    assert guest.errno("path_symlink", "x", area.fd, "dir/") in {Errno.EXIST, Errno.NOENT}
    assert guest.errno("path_symlink", "x", area.fd, "file/") in {Errno.NOTDIR, Errno.NOENT, Errno.EXIST}
    assert guest.errno("path_symlink", "x", area.fd, "new/") is Errno.NOENT


@symbolic
def test_a_link_has_a_status_of_its_own(area: Area) -> None:
    guest = area.guest
    guest.create(area.fd, "file", b"1234567")
    guest.get("path_symlink", "file", area.fd, "link")
    link, file = guest.filestat(area.fd, "link"), guest.filestat(area.fd, "link", follow=True)
    assert (link.filetype, link.size) == (Filetype.SYMBOLIC_LINK, 4)
    assert (file.filetype, file.size) == (Filetype.REGULAR_FILE, 7)
    guest.get("path_filestat_set_times", area.fd, 0, "link", 0, link.mtim - 200, MTIM)
    assert guest.filestat(area.fd, "link").mtim == link.mtim - 200
    assert guest.filestat(area.fd, "file").mtim == file.mtim
    guest.get("path_filestat_set_times", area.fd, FOLLOW, "link", 0, file.mtim - 300, MTIM)
    assert guest.filestat(area.fd, "link").mtim == link.mtim - 200
    assert guest.filestat(area.fd, "file").mtim == file.mtim - 300


@symbolic
def test_a_link_is_removed_itself(area: Area) -> None:
    guest = area.guest
    guest.create(area.fd, "file", b"x")
    guest.get("path_symlink", "file", area.fd, "link")
    guest.get("path_unlink_file", area.fd, "link")
    assert [path.name for path in area.path.iterdir()] == ["file"]


@hard
def test_a_file_gets_a_second_name(area: Area) -> None:
    guest = area.guest
    guest.create(area.fd, "file", b"content")
    (area.path / "sub").mkdir()
    rights = guest.fdstat(area.fd)
    sub = guest.open(area.fd, "sub", DIRECTORY, rights.base, rights.inheriting)
    for fd, path in ((area.fd, area.path), (sub, area.path / "sub")):
        guest.get("path_link", area.fd, 0, "file", fd, "link")
        assert (path / "link").stat().st_ino == (area.path / "file").stat().st_ino
        assert guest.filestat(fd, "link") == guest.filestat(area.fd, "file")
        assert guest.read(guest.open(fd, "link"), 10) == b"content"
    assert guest.filestat(area.fd, "file").nlink == 3
    first, second = (guest.open(area.fd, name, 0, Rights.FD_READ) for name in ("file", "link"))
    assert guest.fdstat(first) == guest.fdstat(second)


@hard
def test_a_used_or_impossible_name_is_refused(area: Area) -> None:
    guest = area.guest
    guest.create(area.fd, "file")
    guest.create(area.fd, "taken")
    (area.path / "dir").mkdir()
    (area.path / "dangling").symlink_to("none")
    for name in ("taken", "file", "dir", "dangling"):
        assert guest.errno("path_link", area.fd, 0, "file", area.fd, name) is Errno.EXIST
    assert guest.errno("path_link", area.fd, 0, "dir", area.fd, "link") in {Errno.PERM, Errno.ACCES}
    assert guest.errno("path_link", area.fd, 0, "file", area.fd, "link/") is Errno.NOENT
    assert guest.errno("path_link", area.fd, 0, "none", area.fd, "link") is Errno.NOENT
    assert not (area.path / "link").exists()


@hard
def test_a_symbolic_link_gets_a_second_name_itself(area: Area) -> None:
    guest = area.guest
    for target in ("none", "symlink"):
        (area.path / "symlink").symlink_to(target)
        guest.get("path_link", area.fd, 0, "symlink", area.fd, "link")
        assert (area.path / "link").readlink().as_posix() == target
        guest.get("path_unlink_file", area.fd, "symlink")
        guest.get("path_unlink_file", area.fd, "link")
    (area.path / "symlink").symlink_to("none")
    errno = guest.errno("path_link", area.fd, FOLLOW, "symlink", area.fd, "link")
    assert errno in {Errno.INVAL, Errno.NOENT}


@hard
def test_a_file_keeps_its_content_until_its_last_name_is_gone(area: Area) -> None:
    guest = area.guest
    guest.create(area.fd, "file", b"content")
    guest.get("path_link", area.fd, 0, "file", area.fd, "link")
    guest.get("path_unlink_file", area.fd, "file")
    fd = guest.open(area.fd, "link")
    guest.get("path_unlink_file", area.fd, "link")
    assert guest.read(fd, 10) == b"content"
    assert not list(area.path.iterdir())
    guest.create(area.fd, "file", b"other")
    guest.close_fd(guest.open(area.fd, "file", CREAT | TRUNC))
