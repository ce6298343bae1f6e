"""WASI 0.1: directories and file names."""

from __future__ import annotations

import pytest

from pelagos_core.conformance.wasi.area import Area
from pelagos_core.conformance.wasi.guest import Out
from pelagos_core.conformance.wasi.names import CREAT, DIRECTORY, EXCL, NONBLOCK, Errno, Filetype

directories = pytest.mark.feature("WASI 0.1: directories")
listing = pytest.mark.feature("WASI 0.1: lists of directories")
paths = pytest.mark.feature("WASI 0.1: paths")
renaming = pytest.mark.feature("WASI 0.1: renaming")
_OUTSIDE = {Errno.PERM, Errno.NOTCAPABLE}


@directories
def test_a_directory_is_created_and_removed(area: Area) -> None:
    guest = area.guest
    guest.get("path_create_directory", area.fd, "sub")
    assert (area.path / "sub").is_dir()
    assert guest.filestat(area.fd, "sub").filetype is Filetype.DIRECTORY
    assert guest.errno("path_create_directory", area.fd, "sub") is Errno.EXIST
    assert guest.errno("path_create_directory", area.fd, "none/sub") is Errno.NOENT
    guest.get("path_remove_directory", area.fd, "sub")
    assert not (area.path / "sub").exists()
    assert guest.errno("path_remove_directory", area.fd, "sub") is Errno.NOENT


@directories
def test_a_directory_that_is_not_empty_is_not_removed(area: Area) -> None:
    guest = area.guest
    guest.get("path_create_directory", area.fd, "sub")
    guest.get("path_create_directory", area.fd, "sub/nested")
    assert guest.errno("path_remove_directory", area.fd, "sub") is Errno.NOTEMPTY
    guest.get("path_remove_directory", area.fd, "sub/nested")
    guest.get("path_remove_directory", area.fd, "sub")


@directories
def test_a_file_is_not_removed_as_a_directory_nor_a_directory_as_a_file(area: Area) -> None:
    guest = area.guest
    guest.create(area.fd, "file")
    guest.get("path_create_directory", area.fd, "sub")
    assert guest.errno("path_remove_directory", area.fd, "file") is Errno.NOTDIR
    assert guest.errno("path_remove_directory", area.fd, "file/") in {Errno.NOTDIR, Errno.NOENT}
    for path in ("sub", "sub/"):
        assert guest.errno("path_unlink_file", area.fd, path) in {Errno.ISDIR, Errno.PERM, Errno.ACCES}
    assert guest.errno("path_unlink_file", area.fd, "file/") in {Errno.NOTDIR, Errno.NOENT}
    assert guest.errno("path_unlink_file", area.fd, "none") is Errno.NOENT
    guest.get("path_unlink_file", area.fd, "file")
    assert sorted(path.name for path in area.path.iterdir()) == ["sub"]


@directories
def test_a_directory_is_removed_with_a_slash_after_its_name_or_not_at_all(area: Area) -> None:
    guest = area.guest
    guest.get("path_create_directory", area.fd, "sub")
    errno = guest.errno("path_remove_directory", area.fd, "sub/")
    assert errno in {Errno.SUCCESS, Errno.ACCES, Errno.INVAL}
    assert (area.path / "sub").exists() is (errno is not Errno.SUCCESS)


@directories
def test_a_name_can_be_used_again_after_its_removal(area: Area) -> None:
    guest = area.guest
    for _ in range(2):
        guest.create(area.fd, "file", b"x")
        guest.close_fd(guest.open(area.fd, "file", 0, 0))
        guest.get("path_unlink_file", area.fd, "file")
        guest.get("path_create_directory", area.fd, "sub")
        guest.close_fd(guest.open(area.fd, "sub", DIRECTORY, 0))
        guest.get("path_remove_directory", area.fd, "sub")
    assert not list(area.path.iterdir())


@listing
def test_an_empty_directory_has_two_entries(area: Area) -> None:
    entries, at_end = area.guest.readdir(area.fd)
    assert at_end
    assert sorted(entry.name for entry in entries) == [".", ".."]
    assert {entry.filetype for entry in entries} == {Filetype.DIRECTORY}
    (itself,) = [entry for entry in entries if entry.name == "."]
    assert itself.ino == area.guest.filestat(area.fd).ino


@listing
def test_entries_have_a_file_type(area: Area) -> None:
    (area.path / "file").write_bytes(b"x")
    (area.path / "sub").mkdir()
    (area.path / "link").symlink_to("file")
    entries, _ = area.guest.readdir(area.fd)
    found = {entry.name: entry for entry in entries if not entry.name.startswith(".")}
    types = {"file": Filetype.REGULAR_FILE, "sub": Filetype.DIRECTORY, "link": Filetype.SYMBOLIC_LINK}
    assert {name: entry.filetype for name, entry in found.items()} == types
    for name, entry in found.items():
        assert entry.ino == area.guest.filestat(area.fd, name).ino


@listing
def test_a_list_continues_at_each_cookie(area: Area) -> None:
    guest = area.guest
    guest.create(area.fd, "file")
    entries, _ = guest.readdir(area.fd)
    assert len(entries) == 3
    for number, entry in enumerate(entries[:-1]):
        rest, at_end = guest.readdir(area.fd, entry.next)
        assert at_end
        assert [each.name for each in rest] == [each.name for each in entries[number + 1 :]]


@listing
def test_a_long_list_is_read_in_parts(area: Area) -> None:
    names = {f"file.{number}" for number in range(100)}
    for name in names:
        (area.path / name).touch()
    found: list[str] = []
    cookie, at_end = 0, False
    while not at_end:
        entries, at_end = area.guest.readdir(area.fd, cookie, 256)
        assert entries or at_end
        found += [entry.name for entry in entries]
        cookie = entries[-1].next if entries else 0
        assert len(found) <= 102
    assert sorted(found) == sorted([*names, ".", ".."])


@listing
def test_only_a_directory_is_listed(area: Area) -> None:
    guest = area.guest
    fd = guest.open(area.fd, "file", CREAT)
    not_a_directory = {Errno.NOTDIR, Errno.BADF, Errno.NOTCAPABLE}
    assert guest.errno("fd_readdir", fd, Out(64), 64, 0, Out(4)) in not_a_directory
    assert guest.errno("fd_readdir", 4000, Out(64), 64, 0, Out(4)) is Errno.BADF


@paths
def test_a_path_may_contain_dots_within_its_directory(area: Area) -> None:
    guest = area.guest
    (area.path / "dir/nested").mkdir(parents=True)
    (area.path / "dir/nested/file").write_bytes(b"here")
    for path in ("dir/nested/file", "dir/.//nested/../../dir/nested/../nested///./file"):
        fd = guest.open(area.fd, path)
        assert guest.read(fd, 10) == b"here"
    for path in ("dir/nested/", "dir/nested///", "dir/nested", "."):
        guest.close_fd(guest.open(area.fd, path, 0, 0))


@paths
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/dir/file", _OUTSIDE),
        ("dir/../../x/dir/file", _OUTSIDE),
        ("..", _OUTSIDE),
        ("dir/file\0", {Errno.INVAL, Errno.ILSEQ, Errno.NOENT}),
        ("dir/file/", {Errno.NOTDIR, Errno.NOENT}),
        ("dir/file///", {Errno.NOTDIR, Errno.NOENT}),
        ("none", {Errno.NOENT}),
        ("none/file", {Errno.NOENT}),
        ("dir/file/x", {Errno.NOTDIR}),
    ],
)
def test_a_path_to_nothing_or_to_the_outside_is_refused(area: Area, path: str, expected: set[Errno]) -> None:
    (area.path / "dir").mkdir()
    (area.path / "dir/file").touch()
    assert area.guest.refused(area.fd, path) in expected
    assert area.guest.refused(area.fd, path, follow=True) in expected


@paths
def test_open_fails_if_a_file_exists_or_is_not_a_directory_as_requested(area: Area) -> None:
    guest = area.guest
    guest.create(area.fd, "file")
    assert guest.refused(area.fd, "file", CREAT | EXCL) is Errno.EXIST
    assert guest.refused(area.fd, "file", DIRECTORY) is Errno.NOTDIR
    guest.close_fd(guest.open(area.fd, "new", CREAT | EXCL))
    assert (area.path / "new").exists()


@paths
def test_only_a_directory_has_paths_below_it(area: Area) -> None:
    guest = area.guest
    fd = guest.open(area.fd, "file", CREAT, 0)
    assert guest.refused(fd, "x", CREAT) in {Errno.NOTDIR, Errno.NOTCAPABLE}
    assert guest.refused(4000, "x") is Errno.BADF


@paths
def test_a_directory_opens_without_blocking(area: Area) -> None:
    area.guest.close_fd(area.guest.open(area.fd, ".", 0, 0, 0, NONBLOCK))


@renaming
def test_a_directory_is_renamed(area: Area) -> None:
    guest = area.guest
    guest.get("path_create_directory", area.fd, "source")
    guest.get("path_rename", area.fd, "source", area.fd, "target")
    assert guest.refused(area.fd, "source", DIRECTORY) is Errno.NOENT
    guest.get("path_create_directory", area.fd, "source")
    guest.get("path_rename", area.fd, "source", area.fd, "target")
    assert [path.name for path in area.path.iterdir()] == ["target"]


@renaming
@pytest.mark.parametrize(("source", "target"), [("source/", "target"), ("source", "target/"), ("source/", "target/")])
def test_a_slash_after_a_directorys_name_changes_nothing(area: Area, source: str, target: str) -> None:
    area.guest.get("path_create_directory", area.fd, "source")
    area.guest.get("path_rename", area.fd, source, area.fd, target)
    assert [path.name for path in area.path.iterdir()] == ["target"]


@renaming
def test_a_renamed_file_replaces_another(area: Area) -> None:
    guest = area.guest
    guest.create(area.fd, "source", b"new")
    guest.get("path_rename", area.fd, "source", area.fd, "target")
    assert guest.refused(area.fd, "source") is Errno.NOENT
    guest.create(area.fd, "source", b"newer")
    guest.get("path_rename", area.fd, "source", area.fd, "target")
    assert [(path.name, path.read_bytes()) for path in area.path.iterdir()] == [("target", b"newer")]


@renaming
def test_an_impossible_rename_is_refused(area: Area) -> None:
    guest = area.guest
    (area.path / "full").mkdir()
    (area.path / "full/file").touch()
    (area.path / "source").mkdir()
    assert guest.errno("path_rename", area.fd, "source", area.fd, "full") in {Errno.NOTEMPTY, Errno.ACCES}
    assert guest.errno("path_rename", area.fd, "source", area.fd, "full/file") is Errno.NOTDIR
    (area.path / "file").touch()
    assert guest.errno("path_rename", area.fd, "file", area.fd, "source") in {Errno.ISDIR, Errno.ACCES}
    assert guest.errno("path_rename", area.fd, "none", area.fd, "x") is Errno.NOENT
    assert guest.errno("path_rename", area.fd, "file", area.fd, "../x") in _OUTSIDE
    assert sorted(path.name for path in area.path.iterdir()) == ["file", "full", "source"]


@renaming
def test_a_file_moves_to_another_directory(area: Area) -> None:
    guest = area.guest
    (area.path / "sub").mkdir()
    guest.create(area.fd, "file", b"x")
    rights = guest.fdstat(area.fd)
    sub = guest.open(area.fd, "sub", DIRECTORY, rights.base, rights.inheriting)
    guest.get("path_rename", area.fd, "file", sub, "moved")
    assert (area.path / "sub/moved").read_bytes() == b"x"
    assert not (area.path / "file").exists()
