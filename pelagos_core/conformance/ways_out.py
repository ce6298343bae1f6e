"""No way out: a guest tries to come to files that are not in its container.

By links of its image and of a volume, which it has the engine follow, by `..` and by absolute paths. What is
tried is there where an engine runs: on the host, and in the root of an engine that is a program.
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
# In an engine root the container's own root has a name, by which a guest comes to nothing else.
_AGAIN = GUEST_ROOT.lstrip("/")
_OWN = frozenset({".", "..", "guest.wasm", "dir", "volume", "out", _AGAIN, *_LINKS})


class Prison:
    """A guest in a root with links that lead out of it.

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
        """Paths that lead out of the root, if the engine lets them."""
        for place in _PLACES:
            yield from (f"{place}{link}" for link in _LINKS)
            yield from (f"{place}{up}" for up in _UP)
        yield from ("", "/", "//", "dir/./../..", "volume/../..")

    def outside(self, paths: tuple[str, ...] | list[str]) -> Iterator[str]:
        """Paths to these, by each way."""
        yield from (f"{way}/{path}" for way in self.ways() for path in paths if way)
        yield from (f"/{path}" for path in paths)


@pytest.fixture(scope="module")
def prison(areas: Areas, backend: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[Prison, None, None]:
    """Started once for all tests of this file."""
    made = Prison(Runner(tmp_path_factory.mktemp("prison"), backend), areas.provided)
    yield made
    made.guest.close()


def _opened(prison: Prison, path: str, oflags: int = 0, rights: int = Rights.FD_READ) -> int:
    """A descriptor of what the path leads to; 0 if it is refused."""
    errno, (fd,) = prison.guest.call("path_open", prison.fd, FOLLOW, path, oflags, int(rights), int(rights), 0, Out(4))
    return int.from_bytes(fd, "little") if errno is Errno.SUCCESS else 0


@feature
def test_the_root_itself_is_seen_and_written(prison: Prison) -> None:
    """What comes below says nothing if the guest comes to nothing at all."""
    names = {entry.name for entry in prison.guest.readdir(prison.fd)[0]}
    assert names >= {"guest.wasm", "dir", "volume", "up2", "abs"}
    prison.guest.create(prison.fd, "out/file", b"text")
    assert (prison.rootfs / "out/file").read_bytes() == b"text"


@feature
def test_no_directory_outside_is_opened_or_listed(prison: Prison) -> None:
    guest, rights = prison.guest, Rights.FD_READ | Rights.FD_READDIR
    reached = [path for path in prison.outside(_DIRECTORIES) if _opened(prison, path, DIRECTORY, rights)]
    assert not reached
    for way in prison.ways():
        # A link that leads to the container's own root is as it is in a container.
        if way and (fd := _opened(prison, way, DIRECTORY, rights)):
            names = {entry.name for entry in guest.readdir(fd)[0]}
            assert names <= _OWN | {f"file{number}" for number in range(99)}, way
            guest.close_fd(fd)


@feature
def test_no_file_outside_is_opened(prison: Prison) -> None:
    reached = [path for path in prison.outside(prison.files) if _opened(prison, path)]
    links = [f"{place}/file{number}" for place in ("dir", "dir/dir", "volume") for number in range(len(prison.files))]
    assert not reached
    assert not [(path, os.readlink(prison.rootfs.parent / "rootfs" / path)) for path in links if _opened(prison, path)]


@feature
def test_no_file_outside_is_made(prison: Prison) -> None:
    rights = Rights.FD_READ | Rights.FD_WRITE
    secret = prison.files[len(_FILES)]
    made = [f"{directory}/made" for directory in ("tmp", "usr/bin", "dev", os.path.dirname(secret))]
    assert not [path for path in prison.outside(made) if _opened(prison, path, CREAT, rights)]
    assert not [path for path in prison.outside([secret]) if _opened(prison, path, TRUNC, rights)]
    assert not (prison.rootfs.parent / "made").exists()
    assert (prison.rootfs.parent / "secret").read_text() == "secret"


@feature
def test_nothing_outside_is_told_changed_moved_or_linked(prison: Prison) -> None:
    guest, fd = prison.guest, prison.fd
    secret = prison.files[len(_FILES)]
    for path in prison.outside([secret, "proc/self/exe", "usr/bin"]):
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
        for path in prison.outside([secret, os.path.dirname(secret)]):
            assert guest.call(name, fd, path)[0] is not Errno.SUCCESS, f"{name} reached {path}"
    assert (prison.rootfs.parent / "secret").read_text() == "secret"


@feature
def test_a_link_that_the_guest_makes_itself_leads_nowhere(prison: Prison) -> None:
    guest, secret = prison.guest, prison.files[len(_FILES)]
    for number, target in enumerate([f"/{secret}", "../" * 9 + secret, "../../../proc/self/exe", "/proc", "../.."]):
        # Refused already, or not followed out.
        if guest.errno("path_symlink", target, prison.fd, f"out/own{number}") is Errno.SUCCESS:
            fd = _opened(prison, f"out/own{number}")
            assert not fd or (target == "../.." and "guest.wasm" in {each.name for each in guest.readdir(fd)[0]})
