"""Images whose layers are modules, on a real containerd of each release: by pods, and by `ctr` where it takes them."""

import json
import os
import re
import subprocess
import sys

import pytest

from pelagos_core.images import media_types
from tests.support.containerd import until
from tests.support.images import listed, of_modules, write
from tests.support.registry import Registry

pytestmark = [pytest.mark.root, pytest.mark.containerd, pytest.mark.guests, pytest.mark.crictl]

RUNTIME = "io.containerd.pelagos.wasm.v1"


@pytest.fixture(scope="module")
def daemon(unpacking):
    return unpacking[0]


@pytest.fixture(scope="module")
def crictl(unpacking):
    return unpacking[1]


@pytest.fixture
def artifact(daemon, crictl, guests, tmp_path, container):
    """Import an artifact of test programs, of which no cache knows: its name."""

    def make(*names, media_type=media_types.WASM_LAYER, config=media_types.WASM_CONFIG, namespace="k8s.io"):
        name = f"localhost/{container}:1"
        # A custom section, so that the bytes are new, and so their digest.
        own = b"\0\x09\4test" + os.urandom(4)
        modules = {each: (guests / each).read_bytes() + own for each in names}
        write(tmp_path / "a.tar", name, of_modules(modules, media_type, config))
        daemon.ctr("-n", namespace, "images", "import", "--no-unpack", str(tmp_path / "a.tar"), check=True)
        if namespace == "k8s.io":
            until(lambda: crictl.run("images", "-q", name).stdout)
        return {"image": {"image": name}}

    return make


def ended(crictl, found):
    until(lambda: crictl.status(found)["state"] == "CONTAINER_EXITED", 20)
    return crictl.status(found)["exitCode"], crictl.run("logs", found).stdout


def reads(daemon):
    """How often the bytes of a module were read."""
    return len(re.findall(r"module sha256:[0-9a-f]{64} of its image was read", daemon.log()))


@pytest.mark.parametrize("media_type", sorted(media_types.WASM_LAYERS))
def test_a_pod_runs_an_artifact_of_each_type(crictl, pod, container, artifact, media_type):
    image = artifact("tool.wasm", media_type=media_type)
    found = crictl.start(pod, container, container, "/any/name.wasm", "args", "x", **image)
    assert ended(crictl, found) == (0, "/any/name.wasm\nargs\nx\n")


def test_what_pelagos_packs_runs_by_its_own_words(daemon, crictl, pod, container, guests, tmp_path):
    name = f"localhost/{container}:1"
    words = ["--artifact", "--arg", "args", "--arg", "b", "-t", name, "-o", tmp_path / "a.tar"]
    subprocess.run([sys.executable, "-m", "pelagos_core", "pack", guests / "tool.wasm", *words], check=True)
    daemon.ctr("-n", "k8s.io", "images", "import", "--no-unpack", str(tmp_path / "a.tar"), check=True)
    until(lambda: crictl.run("images", "-q", name).stdout)
    found = crictl.start(pod, container, container, image={"image": name})
    assert ended(crictl, found) == (0, "/tool.wasm\nargs\nb\n")


def test_the_bytes_are_read_once_on_a_node(daemon, crictl, pod, container, artifact):
    image, before = artifact("hello.wasm"), reads(daemon)
    for name in ("first", "second", "third"):
        assert ended(crictl, crictl.start(pod, container, f"{container}-{name}", "/hello.wasm", **image)) == (
            0,
            "hello\n",
        )
    assert reads(daemon) == before + 1


def test_functions_components_and_further_processes_are_its_own(crictl, pod, container, artifact):
    image = artifact("functions.wasm", "component.wasm", "spin.wasm", "tool.wasm")
    assert ended(crictl, crictl.start(pod, container, "five", "/functions.wasm#five", **image))[0] == 5
    component = crictl.start(pod, container, "component", "/component.wasm", **image)
    assert ended(crictl, component) == (0, "hello from a component\n")
    spin = crictl.start(pod, container, "spin", "/spin.wasm", **image)
    assert crictl.run("exec", "-s", spin, "/tool.wasm", "args", "x").stdout.rstrip() == "/tool.wasm\nargs\nx"
    failed = crictl.run("exec", "-s", spin, "ls", check=False)
    assert "executable file not found in $PATH" in failed.stderr
    with pytest.raises(AssertionError, match=r"none of its 4 modules is named 'app\.wasm'"):
        crictl.start(pod, container, "none", "/app.wasm", **image)


def test_a_mounted_file_comes_before_the_artifact(crictl, pod, container, artifact, guests):
    mount = {"container_path": "/wasm", "host_path": str(guests), "readonly": True}
    image = artifact("tool.wasm")
    found = crictl.start(pod, container, "hello", "/wasm/hello.wasm", mounts=[mount], **image)
    assert ended(crictl, found) == (0, "hello\n")
    found = crictl.start(pod, container, "cat", "/tool.wasm", "read", "/wasm/exit7.wat", mounts=[mount], **image)
    assert ended(crictl, found)[1].startswith("(module")


def test_a_layer_that_is_none_is_refused(crictl, pod, container, artifact):
    with pytest.raises(AssertionError, match=r"is no WebAssembly, though its media type says so.*PLG-IMAGE"):
        crictl.start(pod, container, "wat", "/hello.wat", **artifact("hello.wat"))


def test_a_blob_that_is_gone_is_named(daemon, crictl, pod, container, artifact):
    image = artifact("hello.wasm")
    store = ("-n", "k8s.io", "content")
    listed = daemon.ctr("-n", "k8s.io", "images", "ls").stdout
    (manifest,) = re.findall(rf"localhost/{container}:1 +\S+ +(sha256:[0-9a-f]+)", listed)
    (layer,) = json.loads(daemon.ctr(*store, "get", manifest, check=True).stdout)["layers"]
    daemon.ctr(*store, "rm", layer["digest"], check=True)
    with pytest.raises(AssertionError, match="is not in containerd's store: pull it again"):
        crictl.start(pod, container, "hello", "/hello.wasm", **image)


# What `docs/images.md` has of containerd's words.
MISMATCHED = "mismatched image rootfs and manifest layers"
UNKNOWN = "unknown image config media type application/vnd.wasm.config.v0+json"
NO_MATCH = "no match for platform in manifest"


@pytest.mark.registry
def test_what_each_containerd_pulls_is_in_the_documents(daemon, crictl, pod, container, guests):
    module = {"hello.wasm": (guests / "hello.wasm").read_bytes()}
    by_cncf = of_modules(module, media_types.WASM_LAYER, media_types.WASM_CONFIG)
    plain = of_modules(module, media_types.WASM_LAYER, media_types.CONFIG)
    flags = ("--rm", "--snapshotter", "native", "--fifo-dir", str(daemon.directory / "fifo"), "--runtime", RUNTIME)
    is_old = daemon.release == "bookworm"
    with Registry() as registry:
        for path, made in {"cncf": by_cncf, "plain": plain}.items():
            name = registry.push(made, path, "1")
            pulled = crictl.run("pull", name, check=False)
            assert (MISMATCHED in pulled.stderr) == is_old, pulled.stderr
            if not is_old:
                found = crictl.start(pod, container, f"{container}-{path}", "/hello.wasm", image={"image": name})
                assert ended(crictl, found) == (0, "hello\n")
            pulled = daemon.ctr("images", "pull", "--plain-http", "--snapshotter", "native", name)
            assert (MISMATCHED in pulled.stderr) == is_old, pulled.stderr
            if not is_old:
                done = daemon.ctr("run", *flags, name, f"{container}-{path}", "/hello.wasm")
                assert done.stdout == "hello\n" if path == "plain" else UNKNOWN in done.stderr, done.stderr
        name = registry.push(listed(by_cncf, os="wasi", architecture="wasm"), "listed", "1")
        assert NO_MATCH in crictl.run("pull", name, check=False).stderr
