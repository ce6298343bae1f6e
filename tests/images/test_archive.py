"""The file of an image: every reader finds what it looks for, and each digest is right."""

import hashlib
import io
import json
import tarfile

import pytest

from pelagos_core.errors import InvalidArgument
from pelagos_core.images import archive, image
from pelagos_core.images.image import Blob, Settings
from pelagos_core.images.layer import Layer
from pelagos_core.images.node_platform import Platform

NAME = "docker.io/library/app:v1"
PLATFORMS = (Platform("linux", "amd64"), Platform("linux", "arm", "v7"))


@pytest.fixture
def layer(tmp_path):
    (tmp_path / "app.wasm").write_bytes(b"\0asm\1\0\0\0")
    found = Layer()
    found.add(str(tmp_path / "app.wasm"), "/app.wasm")
    return found


def files(made):
    parts = []
    archive.write(made, NAME, parts.append)
    with tarfile.open(fileobj=io.BytesIO(b"".join(parts))) as found:
        return {each.name: found.extractfile(each).read() for each in found if each.isfile()}


def blob(found, descriptor):
    data = found[f"blobs/{descriptor['digest'].replace(':', '/')}"]
    assert (len(data), hashlib.sha256(data).hexdigest()) == (descriptor["size"], descriptor["digest"][7:])
    return data


def test_the_layout_leads_from_a_name_to_the_files(layer):
    settings = Settings(("/app.wasm",), ("x",), ("A=1",), {"l": "1"}, {"a": "2"}, "65532", "/srv", 86400)
    found = files(image.image(layer, PLATFORMS[:1], settings))
    assert json.loads(found["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (target,) = json.loads(found["index.json"])["manifests"]
    assert target["annotations"] == {"io.containerd.image.name": NAME, "org.opencontainers.image.ref.name": "v1"}
    manifest = json.loads(blob(found, target))
    assert manifest["annotations"] == {"a": "2"}
    config = json.loads(blob(found, manifest["config"]))
    assert config["config"] == {
        "Entrypoint": ["/app.wasm"],
        "Cmd": ["x"],
        "Env": ["A=1"],
        "Labels": {"l": "1"},
        "User": "65532",
        "WorkingDir": "/srv",
    }
    assert (config["os"], config["architecture"], config["created"]) == ("linux", "amd64", "1970-01-02T00:00:00Z")
    (only,) = manifest["layers"]
    assert config["rootfs"]["diff_ids"] == [only["digest"]]
    with tarfile.open(fileobj=io.BytesIO(blob(found, only))) as inner:
        assert inner.getnames() == ["app.wasm"]


def test_old_importers_find_docker_s_own_format(layer):
    found = files(image.image(layer, PLATFORMS[:1], Settings()))
    (only,) = json.loads(found["manifest.json"])
    assert only["RepoTags"] == ["app:v1"]
    assert json.loads(found[only["Config"]])["rootfs"]["diff_ids"] == [
        f"sha256:{hashlib.sha256(found[path]).hexdigest()}" for path in only["Layers"]
    ]


def test_several_platforms_share_the_layer(layer):
    found = files(image.image(layer, PLATFORMS, Settings()))
    (target,) = json.loads(found["index.json"])["manifests"]
    manifests = json.loads(blob(found, target))["manifests"]
    assert [each["platform"] for each in manifests] == [each.fields() for each in PLATFORMS]
    assert len({json.loads(blob(found, each))["layers"][0]["digest"] for each in manifests}) == 1


@pytest.mark.parametrize(("is_component", "os"), [(False, "wasip1"), (True, "wasip2")])
def test_an_artifact_is_the_module_itself(is_component, os):
    made = image.artifact(Blob.of(b"\0asm"), "app.wasm", Settings(("/app.wasm",)), is_component=is_component)
    found = files(made)
    (target,) = json.loads(found["index.json"])["manifests"]
    manifest = json.loads(blob(found, target))
    assert manifest["config"]["mediaType"] == "application/vnd.wasm.config.v0+json"
    (layer,) = manifest["layers"]
    assert (layer["mediaType"], layer["annotations"]["org.opencontainers.image.title"]) == (
        "application/wasm",
        "app.wasm",
    )
    assert blob(found, layer) == b"\0asm"
    config = json.loads(blob(found, manifest["config"]))
    assert (config["architecture"], config["os"], config["layerDigests"]) == ("wasm", os, [layer["digest"]])
    assert "manifest.json" not in found


def test_what_changes_between_the_two_readings_is_refused():
    contents = iter([b"before", b"after!"])
    module = Blob.measured(lambda sink: sink(next(contents)))
    made = image.artifact(module, "app.wasm", Settings(), is_component=False)
    with pytest.raises(InvalidArgument, match="has changed"):
        files(made)
