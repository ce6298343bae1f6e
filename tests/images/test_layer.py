"""The archive of an image's files: the same for the same files, and nothing of the machine in it."""

import io
import os
import socket
import tarfile

import pytest

from pelagos_core.errors import AlreadyExists, InvalidArgument, NotFound
from pelagos_core.images.layer import Layer


def written(layer):
    parts = []
    layer.write(parts.append)
    return b"".join(parts)


def entries(layer):
    with tarfile.open(fileobj=io.BytesIO(written(layer))) as archive:
        return {each.name: each for each in archive}


@pytest.fixture
def tree(tmp_path):
    top = tmp_path / "tree"
    (top / "bin").mkdir(parents=True)
    (top / "bin/tool").write_text("#!/bin/sh\n")
    (top / "bin/tool").chmod(0o4711)
    (top / "note.txt").write_text("a note\n")
    (top / "note.txt").chmod(0o600)
    (top / "link").symlink_to("bin/tool")
    (top / "dangling").symlink_to("/none")
    (top / "up").symlink_to("../../outside")
    return top


def test_modes_are_sane_and_owner_and_times_are_left_out(tree):
    layer = Layer()
    layer.add(str(tree), "/srv")
    found = entries(layer)
    assert {name: oct(each.mode) for name, each in found.items() if not each.issym()} == {
        "srv": "0o755",
        "srv/bin": "0o755",
        "srv/bin/tool": "0o755",
        "srv/note.txt": "0o644",
    }
    assert {(each.uid, each.gid, each.mtime, each.uname, each.gname) for each in found.values()} == {(0, 0, 0, "", "")}


def test_links_stay_links_and_nothing_outside_is_read(tree):
    layer = Layer()
    layer.add(str(tree), "/")
    links = {name: each.linkname for name, each in entries(layer).items() if each.issym()}
    assert links == {"link": "bin/tool", "dangling": "/none", "up": "../../outside"}


def test_what_is_named_itself_is_followed(tree, tmp_path):
    (tmp_path / "alias").symlink_to(tree)
    (tmp_path / "file").symlink_to(tree / "note.txt")
    layer = Layer()
    layer.add(str(tmp_path / "alias"), "/a")
    layer.add(str(tmp_path / "file"), "/b.txt")
    found = entries(layer)
    assert "a/note.txt" in found
    assert found["b.txt"].isfile()


def test_the_same_files_make_the_same_bytes_wherever_and_whenever(tree, tmp_path):
    first = Layer()
    first.add(str(tree), "/")
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in sorted(tree.rglob("*"), reverse=True):  # another order in the directory
        target = copy / path.relative_to(tree)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            target.symlink_to(os.readlink(path))
        elif path.is_file():
            target.write_bytes(path.read_bytes())
            target.chmod(0o700 if path.stat().st_mode & 0o100 else 0o444)
            os.utime(target, (1, 1))
    second = Layer()
    second.add(str(copy), "/")
    assert written(first) == written(second) == written(first)


def test_names_of_any_bytes_and_length_are_kept(tmp_path):
    names = [b"caf\xc3\xa9", b"\xff\xfe", b"x" * 200]
    for name in names:
        with open(os.path.join(os.fsencode(tmp_path), name), "wb"):
            pass
    layer = Layer()
    layer.add(str(tmp_path), "/" + "d" * 150)
    data = written(layer)
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape") as archive:
        found = {os.fsencode(each.name).rpartition(b"/")[2] for each in archive}
    assert set(names) <= found


def test_a_later_file_takes_the_place_of_an_earlier_one(tree, tmp_path):
    (tmp_path / "other").write_text("other")
    layer = Layer()
    layer.add(str(tree), "/")
    layer.add(str(tmp_path / "other"), "/note.txt")
    assert entries(layer)["note.txt"].size == len("other")
    assert "/note.txt" in layer
    assert "/none" not in layer


def test_a_file_in_the_place_of_a_directory_is_refused(tree, tmp_path):
    layer = Layer()
    layer.add(str(tree), "/")
    with pytest.raises(AlreadyExists, match=r"/note\.txt is a file of the image"):
        layer.add(str(tree / "link"), "/note.txt/below")
    with pytest.raises(AlreadyExists, match="/bin is a directory and a file"):
        layer.add(str(tree / "note.txt"), "/bin")


def test_what_an_image_cannot_have_is_named(tmp_path):
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe/p")
    (tmp_path / "socket").mkdir()
    (tmp_path / "white").mkdir()
    (tmp_path / "white/.wh.gone").touch()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket/s"))
    for name, text in {"pipe": "is a pipe", "socket": "is a socket", "white": "removes a file"}.items():
        with pytest.raises(InvalidArgument, match=text):
            Layer().add(str(tmp_path / name), "/")
    with pytest.raises(NotFound, match="No such file"):
        Layer().add(str(tmp_path / "none"), "/")


@pytest.mark.parametrize("content", [b"", b"longer than before"])
def test_a_file_that_changes_meanwhile_is_named(tmp_path, content):
    (tmp_path / "file").write_text("before")
    layer = Layer()
    layer.add(str(tmp_path / "file"), "/file")
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InvalidArgument, match="/file has changed"):
        written(layer)
