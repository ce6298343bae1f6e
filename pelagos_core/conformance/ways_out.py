"""Tests that a guest cannot reach files outside its container.

The guest uses links in its image and in a volume, `..`, and absolute paths. The targets exist where an engine runs: on
the host, and in the root of an engine that is a program.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator

import pytest

from pelagos_core.conformance import modules
from pelagos_core.conformance.runner import Runner
from pelagos_core.conformance.wasi.area import Areas
from pelagos_core.conformance.wasi.guest import Guest, Out
from pelagos_core.conformance.wasi.listener import source
from pelagos_core.conformance.wasi.names import CREAT, DIRECTORY, FOLLOW, MTIM_NOW, TRUNC, Errno, Rights
from pelagos_core.plugin import elf
from pelagos_core.plugin.program import GUEST_ROOT

feature = pytest.mark.feature("files: no way out of the root")

_UP = [f"{'../' * steps}".rstrip("/") for steps in (1, 2, 3, 9)]
_LINKS = {**{f"up{target.count('..')}": target for target in _UP}, "abs": "/", "chain": "again", "again": "up9"}
_PLACES = ("", "dir/", "dir/dir/", "volume/", "volume/dir/")
# Directories of a host, and of an engine root; none is in the container.
_DIRECTORIES = ("usr/bin", "usr/lib", "lib", "lib64", "tmp", "proc", "proc/self", "sys", "etc", "root", "home")
_FILES = ("proc/self/exe", "proc/self/environ", "proc/self/maps", "proc/1/cmdline", "etc/passwd", "dev/urandom")
# In an engine root, the container's own root is a directory with this name.
_AGAIN = GUEST_ROOT.lstrip("/")
_OWN = frozenset({".", "..", "guest.wasm", "dir", "volume", "out", _AGAIN, *_LINKS})


class Confined:
    """A guest in a root with links to paths outside.

    rootfs: the root on the host. files: paths outside, without the first slash. fd: the root in the guest.
    """

    def __init__(self, run: Runner, provided: frozenset[str]) -> None:
        self.rootfs = run.directory / "rootfs"
        volume = run.directory / "volume"
        secret = run.directory / "secret"
        secret.write_text("secret")
        for place in (self.rootfs, self.rootfs / "dir", self.rootfs / "dir/dir", volume, volume / "dir"):
            place.mkdir()
            for name, target in _LINKS.items():
                (place / name).symlink_to(target)
        (self.rootfs / "out").mkdir()
        (self.rootfs / "volume").mkdir()
        (self.rootfs / "guest.wasm").write_bytes(modules.binary(source(provided)))
        with open(sys.executable, "rb") as file:
            loader = elf.interpreter(file.fileno()) if file.read(4) == b"\x7fELF" else None
        found = [str(secret), os.path.realpath(sys.executable), *([loader] if loader else [])]
        self.files = [*_FILES, *(path.lstrip("/") for path in found)]
        for number, path in enumerate(self.files):
            (self.rootfs / f"dir/file{number}").symlink_to(f"/{path}")
            (self.rootfs / f"dir/dir/file{number}").symlink_to("../" * 9 + path)
            (volume / f"file{number}").symlink_to(f"/{path}")
        flags = ("--interactive", "--volume", f"{volume}:/volume")
        self.guest = Guest(run.command_in(self.rootfs, "/guest.wasm", flags=flags), provided)
        self.fd = self.guest.directory("/")

    def ways(self) -> Iterator[str]:
        """Yield paths that lead out of the root if the engine follows them."""
        for place in _PLACES:
            yield from (f"{place}{link}" for link in _LINKS)
            yield from (f"{place}{up}" for up in _UP)
        yield from ("", "/", "//", "dir/./../..", "volume/../..")

    def outside(self, paths: tuple[str, ...] | list[str]) -> Iterator[str]:
        """Yield paths to the given files, by each way out."""
        yield from (f"{way}/{path}" for way in self.ways() for path in paths if way)
        yield from (f"/{path}" for path in paths)


@pytest.fixture(scope="module")
def confined(areas: Areas, backend: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[Confined, None, None]:
    """A guest that all tests of this file share."""
    made = Confined(Runner(tmp_path_factory.mktemp("confined"), backend), areas.provided)
    yield made
    made.guest.close()


def _opened(confined: Confined, path: str, oflags: int = 0, rights: int = Rights.FD_READ) -> int:
    """Open a path in the guest; return the descriptor, or 0 if it is refused."""
    errno, (fd,) = confined.guest.call(
        "path_open", confined.fd, FOLLOW, path, oflags, int(rights), int(rights), 0, Out(4)
    )
    return int.from_bytes(fd, "little") if errno is Errno.SUCCESS else 0


@feature
def test_the_root_itself_can_be_listed_and_written(confined: Confined) -> None:
    """The other tests prove nothing if the guest can reach no file at all."""
    names = {entry.name for entry in confined.guest.readdir(confined.fd)[0]}
    assert names >= {"guest.wasm", "dir", "volume", "up2", "abs"}
    confined.guest.create(confined.fd, "out/file", b"text")
    assert (confined.rootfs / "out/file").read_bytes() == b"text"


@feature
def test_no_directory_outside_is_opened_or_listed(confined: Confined) -> None:
    guest, rights = confined.guest, Rights.FD_READ | Rights.FD_READDIR
    reached = [path for path in confined.outside(_DIRECTORIES) if _opened(confined, path, DIRECTORY, rights)]
    assert not reached
    for way in confined.ways():
        # A link may lead to the container's own root, as in any container.
        if way and (fd := _opened(confined, way, DIRECTORY, rights)):
            names = {entry.name for entry in guest.readdir(fd)[0]}
            assert names <= _OWN | {f"file{number}" for number in range(99)}, way
            guest.close_fd(fd)


@feature
def test_no_file_outside_is_opened(confined: Confined) -> None:
    reached = [path for path in confined.outside(confined.files) if _opened(confined, path)]
    links = [f"{place}/file{number}" for place in ("dir", "dir/dir", "volume") for number in range(len(confined.files))]
    assert not reached
    assert not [
        (path, os.readlink(confined.rootfs.parent / "rootfs" / path)) for path in links if _opened(confined, path)
    ]


@feature
def test_no_file_outside_is_created(confined: Confined) -> None:
    rights = Rights.FD_READ | Rights.FD_WRITE
    secret = confined.files[len(_FILES)]
    made = [f"{directory}/made" for directory in ("tmp", "usr/bin", "dev", os.path.dirname(secret))]
    assert not [path for path in confined.outside(made) if _opened(confined, path, CREAT, rights)]
    assert not [path for path in confined.outside([secret]) if _opened(confined, path, TRUNC, rights)]
    assert not (confined.rootfs.parent / "made").exists()
    assert (confined.rootfs.parent / "secret").read_text() == "secret"


@feature
def test_nothing_outside_is_revealed_changed_moved_or_linked(confined: Confined) -> None:
    guest, fd = confined.guest, confined.fd
    secret = confined.files[len(_FILES)]
    for path in confined.outside([secret, "proc/self/exe", "usr/bin"]):
        calls: list[tuple[str, tuple[int | str | Out, ...]]] = [
            ("path_filestat_get", (fd, FOLLOW, path, Out(64))),
            ("path_filestat_set_times", (fd, FOLLOW, path, 0, 0, MTIM_NOW)),
            ("path_link", (fd, 0, path, fd, "out/linked")),
            ("path_rename", (fd, path, fd, "out/moved")),
            ("path_readlink", (fd, path, Out(64), 64, Out(4))),
            ("path_create_directory", (fd, f"{path}-made")),
            ("path_symlink", ("x", fd, f"{path}-made")),
            ("path_rename", (fd, "out", fd, f"{path}-made")),
        ]
        for name, arguments in calls:
            assert guest.call(name, *arguments)[0] is not Errno.SUCCESS, f"{name} reached {path}"
    for name in ("path_unlink_file", "path_remove_directory"):
        for path in confined.outside([secret, os.path.dirname(secret)]):
            assert guest.call(name, fd, path)[0] is not Errno.SUCCESS, f"{name} reached {path}"
    assert (confined.rootfs.parent / "secret").read_text() == "secret"


@feature
def test_a_link_that_the_guest_makes_itself_leads_nowhere(confined: Confined) -> None:
    guest, secret = confined.guest, confined.files[len(_FILES)]
    for number, target in enumerate([f"/{secret}", "../" * 9 + secret, "../../../proc/self/exe", "/proc", "../.."]):
        # The link is refused, or not followed.
        if guest.errno("path_symlink", target, confined.fd, f"out/own{number}") is Errno.SUCCESS:
            fd = _opened(confined, f"out/own{number}")
            assert not fd or (target == "../.." and "guest.wasm" in {each.name for each in guest.readdir(fd)[0]})
