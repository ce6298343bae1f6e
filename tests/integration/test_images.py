"""What `pelagos pack` makes, on a real containerd of each release: by `ctr`, by pods, through a registry."""

import subprocess
import sys

import pytest

from tests.support.containerd import until
from tests.support.crictl import PAUSE_IMAGE
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
def registry():
    with Registry() as found:
        yield found


def pack(*words):
    subprocess.run([sys.executable, "-m", "pelagos_core", "pack", *map(str, words)], check=True, capture_output=True)


def logs(crictl, container):
    until(lambda: crictl.status(container)["state"] == "CONTAINER_EXITED", 20)
    assert crictl.status(container)["exitCode"] == 0
    return crictl.run("logs", container).stdout


def imported(daemon, namespace, archive):
    daemon.ctr("-n", namespace, "images", "import", "--no-unpack", str(archive), check=True)


def test_a_packed_image_runs_with_its_files_and_its_words(daemon, guests, tmp_path, container):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/note.txt").write_text("a note\n")
    words = ["--add", f"{tmp_path}/data:/data", "--arg", "read", "--arg", "/data/note.txt"]
    pack(guests / "tool.wasm", "-t", "localhost/tool", "-o", tmp_path / "tool.tar", *words)
    imported(daemon, "default", tmp_path / "tool.tar")
    flags = ("--rm", "--snapshotter", "native", "--fifo-dir", str(daemon.directory / "fifo"), "--runtime", RUNTIME)
    done = daemon.ctr("run", *flags, "localhost/tool:latest", container)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a note\n", "")


def test_a_pod_runs_a_packed_image_of_several_platforms(daemon, crictl, pod, container, guests, tmp_path):
    words = ["--platform", "linux/arm64,linux/amd64", "--arg", "env", "--env", "A=1", "--user", "65532"]
    pack(guests / "tool.wasm", "-t", "team/tool:v1", "-o", tmp_path / "tool.tar", *words)
    imported(daemon, "k8s.io", tmp_path / "tool.tar")
    until(lambda: crictl.run("images", "-q", "team/tool:v1").stdout)
    found = crictl.start(pod, container, "tool", image={"image": "team/tool:v1"})
    assert "A=1" in logs(crictl, found).splitlines()


@pytest.mark.registry
def test_an_image_goes_through_a_registry(daemon, crictl, pod, registry, guests, tmp_path, container):  # noqa: PLR0917
    name = f"{registry.name}/team/hello:v1"
    pack(guests / "hello.wasm", "-t", name, "-o", tmp_path / "hello.tar")
    imported(daemon, "default", tmp_path / "hello.tar")
    daemon.ctr("images", "push", "--plain-http", name, check=True)
    crictl.run("pull", name)  # containerd speaks HTTP to the loopback
    assert logs(crictl, crictl.start(pod, container, "hello", image={"image": name})) == "hello\n"


def test_a_module_of_a_volume_runs_in_any_image(crictl, pod, container, guests):
    """As a ConfigMap: the image has nothing of the module, and is not asked."""
    mount = {"container_path": "/wasm", "host_path": str(guests), "readonly": True}
    words = ("/wasm/tool.wasm", "args", "x")
    found = crictl.start(pod, container, "mounted", *words, image={"image": PAUSE_IMAGE}, mounts=[mount])
    assert logs(crictl, found) == "/wasm/tool.wasm\nargs\nx\n"
