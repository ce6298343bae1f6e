"""The process that reads an image: what it finds, what it hands over, and that it ends."""

import fcntl
import json
import os
import select

import pytest

from pelagos_core import reasons
from pelagos_core.cgroups.group import Cgroup
from pelagos_core.errors import InvalidArgument, NotFound, PelagosError, Unavailable
from pelagos_core.images import media_types, reader
from pelagos_core.images.artifact import Module
from pelagos_core.images.reader import Source
from tests.support.containerd_api import digest_of, serving
from tests.support.traces import alive, comm

MODULE = b"\0asm\1\0\0\0" + b"x" * 3_000_000
NATIVE = b"\x7fELF\2\1\1\0"


def module(data):
    return Module(digest_of(data)[7:], len(data))


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    layers = [
        {
            "mediaType": media_types.WASM_LAYER,
            "digest": digest_of(data),
            "size": len(data),
            "annotations": {media_types.TITLE: name},
        }
        for name, data in {"app.wasm": MODULE, "elf": NATIVE}.items()
    ]
    blobs = {digest_of(data): data for data in (MODULE, NATIVE)}
    images = {}
    for name, some in {"both": layers, "one": layers[:1]}.items():
        manifest = json.dumps({"layers": some}).encode()
        blobs[digest_of(manifest)] = manifest
        images[name] = [media_types.MANIFEST, digest_of(manifest), len(manifest)]
    containers = {"c1": "one", "c2": "both", "docker": "", "removed": "gone"}
    with serving(tmp_path_factory.mktemp("api"), containers=containers, images=images, blobs=blobs) as found:
        yield found


def answer(running):
    try:
        assert select.select([running.socket], [], [], 20)[0]
        assert comm(running.child.pid) == "pelagos-image"
        return running.answer()
    finally:
        running.close()
        assert not alive(running.child.pid)


def find(address, container, path="/app.wasm", only=True):
    return answer(reader.find(Source(address, "ns", container), path, only=only))[0]


def test_the_module_of_a_container_is_found(address):
    target, chosen = find(address, "c1")
    assert target[0] == media_types.MANIFEST
    assert chosen == [digest_of(MODULE)[7:], len(MODULE), "app.wasm"]
    assert find(address, "c1", "/other", only=False) is None
    with pytest.raises(NotFound, match="none of its 2 modules is named 'x'") as raised:
        find(address, "c2", "/x")
    assert raised.value.reason == reasons.IMAGE


@pytest.mark.parametrize("container", ["docker", "removed", "none"])
def test_a_container_without_an_image_has_no_module(address, container):
    assert find(address, container) is None


def test_where_no_containerd_is_there_is_no_module(tmp_path):
    assert find(str(tmp_path / "none"), "c1") is None


def test_a_module_comes_as_a_sealed_file(address):
    running = reader.fetch(Source(address, "ns", "c1"), module(MODULE), Cgroup(()), lambda: None)
    _, file = answer(running)
    try:
        assert os.pread(file, len(MODULE) + 1, 0) == MODULE
        seals = fcntl.fcntl(file, fcntl.F_GET_SEALS)
        assert seals & fcntl.F_SEAL_WRITE
        with pytest.raises(PermissionError):
            os.pwrite(file, b"x", 0)
    finally:
        os.close(file)


def test_what_only_its_media_type_calls_a_module_is_refused(address):
    with pytest.raises(InvalidArgument, match="is no WebAssembly, though its media type says so"):
        answer(reader.fetch(Source(address, "ns", "c2"), module(NATIVE), Cgroup(()), lambda: None))


def test_it_stays_until_it_is_closed_and_takes_nothing_before_its_turn(address, tmp_path):
    turn = tmp_path / "turn"
    os.mkfifo(turn)
    running = reader.fetch(Source(address, "ns", "c1"), module(MODULE), Cgroup(()), turn.read_bytes)
    try:
        assert not select.select([running.socket], [], [], 0.3)[0]
        turn.write_bytes(b"")
        assert select.select([running.socket], [], [], 20)[0]
        os.close(running.answer()[1])
        assert not select.select([running.socket], [], [], 0.3)[0]
        assert alive(running.child.pid)
    finally:
        running.close()
    assert not alive(running.child.pid)


def test_a_failure_of_containerd_has_the_reason_of_images(tmp_path):
    with serving(tmp_path, fails={"container": "UNAVAILABLE"}) as address, pytest.raises(Unavailable) as raised:
        find(address, "c1")
    assert raised.value.reason == reasons.IMAGE


def test_one_that_is_killed_is_reported(address):
    running = reader.find(Source(address, "ns", "c1"), "x", only=True)
    os.kill(running.child.pid, 9)
    running.child.wait()
    try:
        with pytest.raises(PelagosError, match="has ended without an answer"):
            running.answer()
    finally:
        running.close()
