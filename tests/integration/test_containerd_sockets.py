"""A guest that serves below a real containerd, in a network namespace that it is given, as a CNI plugin makes one."""

import shutil

import pytest

from tests.support.containerd import until
from tests.support.network import new_network

pytestmark = [pytest.mark.root, pytest.mark.containerd, pytest.mark.components, pytest.mark.engines]

RUNTIME = "io.containerd.pelagos.wasm.v1"


@pytest.fixture(scope="module")
def containerd(containerd_with_engines):
    return containerd_with_engines


@pytest.fixture
def rootfs(tmp_path, components):
    root = tmp_path / "root"
    root.mkdir()
    shutil.copy(components / "network.wasm", root)
    return root


@pytest.mark.parametrize(("kind", "word"), [("tcp", "listen"), ("udp", "receive")])
def test_a_guest_serves_in_the_network_that_it_is_given(containerd, rootfs, container, kind, word):
    with new_network() as network:
        flags = ("--detach", "--with-ns", f"network:{network.path}", "--env", "A=1")
        words = ("/network.wasm", word, "0.0.0.0:7007")
        done = containerd.run(RUNTIME, rootfs, container, *words, flags=flags)
        assert done.returncode == 0, done.stderr
        try:
            until(lambda: _answers(network, kind), 20)
        finally:
            containerd.ctr("task", "kill", "-s", "SIGTERM", container)
            until(lambda: containerd.status(container) == "STOPPED")
            containerd.remove(container)
        with pytest.raises(Exception, match="returned non-zero"):
            network.ask(kind, 7007, "gone")


def _answers(network, kind):
    try:
        return network.ask(kind, 7007, "hello") == "hello"
    except Exception:
        return False


def test_a_guest_without_a_network_namespace_serves_nothing_on_the_host(containerd, rootfs, container):
    words = ("/network.wasm", "listen", "127.0.0.1:7007")
    done = containerd.run(RUNTIME, rootfs, container, *words, flags=("--rm", "--net-host"))
    assert done.returncode == 1
    assert "wasi:sockets/tcp-create-socket@0.2.6, and it has no network [PLG-NETWORK]" in done.stderr
