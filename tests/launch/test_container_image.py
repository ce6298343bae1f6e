"""The image of a launch's container: asked for once, cancelled by a Kill, and nothing is left of it."""

import asyncio
import json
import os
import time
from types import SimpleNamespace

import pytest

from pelagos_core.cache import compile_service
from pelagos_core.config.node_file import CacheSettings
from pelagos_core.errors import DeadlineExceeded, InvalidArgument
from pelagos_core.images import media_types
from pelagos_core.launch import container_image
from pelagos_core.launch.container_image import ContainerImage
from pelagos_core.launch.init import JoinTarget
from pelagos_core.oci import Process, Spec
from pelagos_core.plugin.bundle import Bundle
from tests.support.containerd_api import digest_of, serving
from tests.support.traces import children

MODULE = b"\0asm\1\0\0\0"


def launch(word="/app.wasm#run"):
    """What of a launch its image needs."""
    bundle = Bundle("c1", "ns", "/none", Spec(process=Process(args=(word,), cwd="/srv")), ())
    return SimpleNamespace(bundle=bundle, name="container 'c1'", cache=CacheSettings())


def said(**fields):
    layer = {"mediaType": media_types.WASM_LAYER, "digest": digest_of(MODULE), "size": 8}
    manifest = json.dumps({"layers": [{**layer, **fields}]}).encode()
    return {
        "containers": {"c1": "i"},
        "images": {"i": [media_types.MANIFEST, digest_of(manifest), len(manifest)]},
        "blobs": {digest_of(MODULE): MODULE, digest_of(manifest): manifest},
    }


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("api"), **said()) as found:
        yield found


async def test_the_module_is_found_and_read_when_it_is_needed(address):
    image, before = ContainerImage(launch(), address), children(os.getpid())
    await image.look(None)
    found = image.artifact
    assert (found.digest, found.path, found.file) == (digest_of(MODULE)[7:], "/app.wasm", -1)
    await image.obtain()
    assert os.pread(found.file, 99, 0) == MODULE
    assert await found.obtain() == found.file
    image.close()
    assert found.file == -1
    assert children(os.getpid()) == before


async def test_so_many_modules_are_in_memory_at_a_time(address, tmp_path, monkeypatch):
    monkeypatch.setattr(compile_service, "TURNS", 1)
    begun = launch()
    begun.cache = CacheSettings(directory=str(tmp_path / "cache"))
    first, second = ContainerImage(begun, address), ContainerImage(begun, address)
    for image in (first, second):
        await image.look(None)
    await first.obtain()
    waiting = asyncio.ensure_future(second.obtain())
    await asyncio.sleep(0.4)
    assert not waiting.done()
    first.close()
    await asyncio.wait_for(waiting, 10)
    assert second.artifact.file >= 0
    second.close()


async def test_a_further_process_means_it_by_the_same_word_only(address):
    for word, joined, is_found in (("/x", "/x#f", True), ("/bin/ls", "/x", False)):
        image = ContainerImage(launch(word), address)
        await image.look(JoinTarget(-1, joined))
        assert (image.artifact is not None) == is_found
    await image.obtain()  # of none


async def test_a_further_process_has_the_image_of_the_first_one_though_its_name_has_moved(tmp_path):
    newer = b"\0asm\1\0\0\0newer"
    before = said(digest=digest_of(MODULE), size=len(MODULE))
    after = said(digest=digest_of(newer), size=len(newer))
    after["blobs"] |= before["blobs"] | {digest_of(newer): newer}
    first = await looked(tmp_path, before)
    assert first.artifact.digest == digest_of(MODULE)[7:]
    joined = JoinTarget(-1, "/app.wasm", first.target)
    assert (await looked(tmp_path, after, joined)).artifact.digest == digest_of(MODULE)[7:]
    assert (await looked(tmp_path, after)).artifact.digest == digest_of(newer)[7:]


async def looked(directory, words, target=None):
    directory = directory / os.urandom(4).hex()
    directory.mkdir()
    with serving(directory, **words) as address:
        image = ContainerImage(launch(), address)
        await image.look(target)
        return image


async def test_without_an_address_nothing_is_asked():
    image = ContainerImage(launch(), "")
    await image.look(None)
    assert image.artifact is None


async def test_a_kill_ends_the_wait_at_once(tmp_path):
    with serving(tmp_path, silent=["container"], **said()) as address:
        image = ContainerImage(launch(), address)
        before = children(os.getpid())
        looking = asyncio.ensure_future(image.look(None))
        await asyncio.sleep(0.2)
        began = time.monotonic()
        image.cancel()
        await looking
        assert time.monotonic() - began < 2
        assert image.artifact is None
        assert children(os.getpid()) == before


async def test_the_end_of_the_launch_ends_the_reader(tmp_path):
    with serving(tmp_path, silent=["container"], **said()) as address:
        before = children(os.getpid())
        looking = asyncio.ensure_future(ContainerImage(launch(), address).look(None))
        await asyncio.sleep(0.2)
        looking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await looking
        assert children(os.getpid()) == before


async def test_a_time_limit_and_a_fault_name_the_container(tmp_path, monkeypatch):
    monkeypatch.setattr(container_image, "_FIND_SECONDS", 0.2)
    with (
        serving(tmp_path, silent=["image"], **said()) as address,
        pytest.raises(DeadlineExceeded, match=r"container 'c1': its image was not read in 0\.2 s"),
    ):
        await ContainerImage(launch(), address).look(None)
    (tmp_path / "b").mkdir()
    monkeypatch.undo()
    with (
        serving(tmp_path / "b", **said(size=7)) as address,
        pytest.raises(InvalidArgument, match=r"container 'c1': image: blob sha256:.* has 8 bytes, and not 7"),
    ):
        await ContainerImage(launch(), address).look(None)
