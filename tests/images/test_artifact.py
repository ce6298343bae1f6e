"""What a manifest says, also one that was made to harm."""

import contextlib
import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pelagos_core import reasons
from pelagos_core.errors import InvalidArgument, NotFound, PelagosError, ResourceExhausted
from pelagos_core.images import artifact, media_types
from pelagos_core.images.artifact import Descriptor, Module
from pelagos_core.images.node_platform import Platform

DIGEST = "ab" * 32
NODE = Platform("linux", "amd64")


def layer(**fields):
    return {"mediaType": media_types.WASM_LAYER, "digest": f"sha256:{DIGEST}", "size": 8, **fields}


def manifest(*layers):
    return json.dumps({"schemaVersion": 2, "layers": layers}).encode()


def entry(os, architecture, digest=DIGEST, **fields):
    platform = {"os": os, "architecture": architecture}
    return {"mediaType": media_types.MANIFEST, "digest": f"sha256:{digest}", "size": 9, "platform": platform, **fields}


@pytest.mark.parametrize("media_type", sorted(media_types.WASM_LAYERS))
def test_each_type_of_a_wasm_layer_is_a_module(media_type):
    titled = layer(mediaType=media_type, annotations={media_types.TITLE: "app.wasm"})
    assert artifact.modules(manifest(titled)) == [Module(DIGEST, 8, "app.wasm")]


def test_an_image_of_files_has_no_module():
    files = layer(mediaType="application/vnd.oci.image.layer.v1.tar+gzip")
    assert artifact.modules(manifest(files)) == []
    assert artifact.modules(b'{"layers": null}') == []
    assert artifact.modules(manifest(files, layer())) == [Module(DIGEST, 8)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"layers": {}}',
        b'{"layers": [1]}',
        manifest(layer(digest="sha512:" + "a" * 128)),
        manifest(layer(digest="sha256:../../etc/passwd")),
        manifest(layer(digest=None)),
        manifest(layer(size=-1)),
        manifest(layer(size="8")),
        manifest(layer(size=True)),
        manifest(layer(annotations={media_types.TITLE: 1})),
        manifest(layer(annotations={media_types.TITLE: "x" * 2000})),
        manifest(*[layer()] * 1001),
    ],
)
def test_a_malformed_manifest_is_an_error_with_a_reason(data):
    with pytest.raises(InvalidArgument) as raised:
        artifact.modules(data)
    assert raised.value.reason == reasons.IMAGE
    assert len(str(raised.value)) < 2000


def test_a_module_that_no_engine_takes_is_refused_before_it_is_read():
    with pytest.raises(ResourceExhausted, match=r"a module of 1\.0 GiB: more than 1\.0 GiB"):
        artifact.modules(manifest(layer(size=artifact.MAX_MODULE + 1)))


def test_the_manifest_is_the_one_that_containerd_has_chosen():
    index = json.dumps({"manifests": [entry("wasi", "wasm"), entry("linux", "amd64", "cd" * 32)]}).encode()
    assert artifact.manifest_of(index, NODE) == Descriptor(media_types.MANIFEST, "cd" * 32, 9)
    assert artifact.manifest_of(index, Platform("linux", "arm64")) == Descriptor(media_types.MANIFEST, DIGEST, 9)
    other = json.dumps({"manifests": [entry("windows", "amd64"), {"digest": 1}, entry("linux", "s390x", platform=[])]})
    assert artifact.manifest_of(other.encode(), NODE) is None


@pytest.mark.parametrize(
    ("media_type", "is_index"),
    [
        (media_types.INDEX, True),
        (media_types.DOCKER_INDEX, True),
        (media_types.MANIFEST, False),
        (media_types.DOCKER_MANIFEST, False),
    ],
)
def test_a_list_is_distinguished_from_a_manifest(media_type, is_index):
    assert artifact.is_index(Descriptor(media_type, DIGEST, 1)) == is_index
    with pytest.raises(InvalidArgument, match="is no image"):
        artifact.is_index(Descriptor("text/html", DIGEST, 1))


ONE, TWO = Module("1", 1, "one.wasm"), Module("2", 2, "/srv/two.wasm")


@pytest.mark.parametrize(
    ("found", "path", "only", "chosen"),
    [
        ([], "/app.wasm", True, None),
        ([ONE], "/anything", True, ONE),
        ([Module("1", 1)], "/app.wasm", True, Module("1", 1)),
        ([ONE, TWO], "/bin/two.wasm", True, TWO),
        ([ONE], "/bin/ls", False, None),
        ([ONE, TWO], "/bin/ls", False, None),
        ([ONE, TWO], "one.wasm", False, ONE),
        ([Module("1", 1)], "/", False, None),
    ],
)
def test_a_word_means_a_module_by_its_name_or_the_only_one(found, path, only, chosen):
    assert artifact.choose(found, path, only=only) == chosen


def test_of_several_none_is_guessed():
    with pytest.raises(
        NotFound, match=r"none of its 2 modules is named 'app.wasm': it has 'one.wasm', '/srv/two.wasm'"
    ):
        artifact.choose([ONE, TWO], "/app.wasm", only=True)


def test_every_error_has_its_reason():
    for wrong in (("m", "sha256:x", 1), ("m", f"sha256:{DIGEST}", -1), (None, None, None)):
        with pytest.raises(PelagosError) as raised:
            artifact.descriptor(*wrong)
        assert raised.value.reason == reasons.IMAGE


_TEXTS = st.sampled_from(
    ["sha256:" + DIGEST, "application/wasm", media_types.MANIFEST, "linux", "amd64", "wasm", "\0\ud800"]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _TEXTS | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["layers", "manifests", "mediaType", "digest", "size", "platform", "os", "architecture", "annotations"]
            ),
            inner,
            max_size=9,
        )
    ),
)


@settings(deadline=None)
@given(_VALUES)
def test_whatever_json_it_is_there_is_an_answer_or_an_error_of_ours(value):
    data = json.dumps({"layers": value, "manifests": value}).encode()
    for read in (artifact.modules, lambda index: artifact.manifest_of(index, NODE)):
        with contextlib.suppress(PelagosError):
            read(data)


@pytest.mark.parametrize("part", [b"{},", b"[],", b'{"":0},', b"0,"])
def test_a_manifest_of_many_parts_is_refused_before_it_is_read(part):
    data = b'{"layers": [' + part * (artifact.MAX_MANIFEST // len(part) - 10) + b"{}]}"
    tracemalloc.start()
    try:
        with pytest.raises(InvalidArgument, match="its manifest has more than 100000 parts"):
            artifact.modules(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_manifest_of_as_many_modules_as_are_taken_is_read():
    titled = [layer(annotations={media_types.TITLE: f"{number}.wasm"}) for number in range(1000)]
    assert len(artifact.modules(manifest(*titled))) == 1000
