"""A container's image and its blobs, by a server that is gRPC's own."""

import json

import pytest

from pelagos_core import reasons
from pelagos_core.errors import InvalidArgument, NotFound, ResourceExhausted
from pelagos_core.images import artifact, media_types
from pelagos_core.images.artifact import Module
from pelagos_core.images.image_store import ImageStore
from pelagos_core.images.node_platform import Platform
from tests.support.containerd_api import digest_of, serving

NODE = Platform("linux", "amd64")
MODULE = b"\0asm\1\0\0\0" + bytes(range(256)) * 20_000  # five messages
LAYER = {"mediaType": media_types.WASM_LAYER, "digest": digest_of(MODULE), "size": len(MODULE)}
MANIFEST = json.dumps({"layers": [LAYER]}).encode()
INDEX = json.dumps(
    {
        "manifests": [
            {
                "mediaType": media_types.MANIFEST,
                "digest": digest_of(MANIFEST),
                "size": len(MANIFEST),
                "platform": {"os": "linux", "architecture": "amd64"},
            }
        ]
    }
).encode()


def target(data, media_type):
    return [media_type, digest_of(data), len(data)]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    blobs = {digest_of(data): data for data in (MODULE, MANIFEST, INDEX)}
    forged, huge = digest_of(b"forged"), digest_of(b"huge")
    images = {
        "plain": target(MANIFEST, media_types.MANIFEST),
        "list": target(INDEX, media_types.INDEX),
        "odd": ["text/html", digest_of(MANIFEST), 1],
        "short": [media_types.MANIFEST, digest_of(MANIFEST), 3],
        "long": [media_types.MANIFEST, digest_of(MANIFEST), len(MANIFEST) + 1],
        "forged": [media_types.MANIFEST, forged, len(MANIFEST)],
        "huge": [media_types.MANIFEST, huge, artifact.MAX_MANIFEST + 1],
        "gone": [media_types.MANIFEST, digest_of(b"gone"), 4],
    }
    said = {"containers": {"c1": "plain", "none": ""}, "images": images, "blobs": {**blobs, forged: MANIFEST}}
    with serving(tmp_path_factory.mktemp("api"), **said) as found:
        yield found


@pytest.fixture
def store(address):
    with ImageStore.connect(address, "ns", 10) as channel:
        yield ImageStore(channel)


def test_a_container_s_image_is_found_and_its_module_copied(store):
    assert store.image_of("c1") == "plain"
    assert store.image_of("none") == ""
    (module,) = store.modules(store.target_of("plain"), NODE)
    assert module == Module(digest_of(MODULE)[7:], len(MODULE))
    assert store.modules(store.target_of("list"), NODE) == [module]
    parts = []
    store.copy(module.digest, module.size, parts.append)
    assert b"".join(parts) == MODULE
    assert len(parts) > 1


def test_a_module_that_its_author_need_not_have_is_asked_for(store):
    store.check(Module(digest_of(MODULE)[7:], len(MODULE)))
    with pytest.raises(NotFound, match="is not in containerd's store"):
        store.check(Module("ab" * 32, 8))
    with pytest.raises(InvalidArgument, match=f"has {len(MODULE)} bytes, and not 8"):
        store.check(Module(digest_of(MODULE)[7:], 8))


def test_a_list_without_this_node_s_platform_has_nothing_for_it(store):
    assert store.modules(store.target_of("list"), Platform("linux", "arm64")) == []


@pytest.mark.parametrize(
    ("image", "error", "text"),
    [
        ("odd", InvalidArgument, "is no image"),
        ("short", InvalidArgument, "has more bytes, and not 3"),
        ("long", InvalidArgument, f"has {len(MANIFEST)} bytes, and not"),
        ("forged", InvalidArgument, "has bytes of another digest"),
        ("huge", ResourceExhausted, "its manifest has 4194305 bytes"),
        ("gone", NotFound, "is not in containerd's store: pull it again"),
    ],
)
def test_what_an_image_claims_is_checked(store, image, error, text):
    with pytest.raises(error, match=text) as raised:
        store.modules(store.target_of(image), NODE)
    assert raised.value.reason == reasons.IMAGE


def test_a_missing_blob_is_distinguished_from_a_wrong_one(store):
    for ask in (lambda: store.image_of("c2"), lambda: store.target_of("other")):
        with pytest.raises(NotFound) as raised:
            ask()
        assert raised.value.reason == ""
