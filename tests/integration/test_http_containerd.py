"""Services on a real containerd of each release: served in a network of their pod, drained under load, refused."""

import functools
import shutil

import pytest

from tests.support import services
from tests.support.containerd import until
from tests.support.http_load import Load, get, inside
from tests.support.network import new_network

pytestmark = [pytest.mark.root, pytest.mark.containerd, pytest.mark.engines, pytest.mark.services, pytest.mark.slow]
RUNTIME = "io.containerd.pelagos.wasm.v1"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An image's files: the services."""
    directory = tmp_path_factory.mktemp("services")
    for name in services.NAMES:
        shutil.copy(services.component(name), directory)
    return directory


@pytest.fixture(scope="module")
def containerd(containerd_with_engines):
    return containerd_with_engines


@pytest.fixture
def network():
    with new_network() as made:
        yield made


def start(containerd, network, files, container, service="rust", *flags):
    """`ctr run` it in this network, in the background."""
    words = ("--detach", "--with-ns", f"network:{network.path}", *flags)
    return containerd.run(RUNTIME, files, container, f"/{service}.wasm", flags=words)


@pytest.mark.parametrize("service", services.NAMES)
def test_a_service_answers_once_it_runs_and_ends_gracefully(containerd, network, files, container, service):
    done = start(containerd, network, files, container, service)
    assert done.returncode == 0, done.stderr
    status, said = inside(network.pid, get)
    assert (status, said[:5]) == (200, "hello")
    containerd.ctr("task", "kill", "-s", "SIGTERM", container, check=True)
    until(lambda: containerd.status(container) == "STOPPED", 20, containerd.log)
    assert containerd.ctr("task", "rm", container).returncode == 0  # its exit code
    containerd.remove(container)


def test_it_drains_under_load_and_is_replaced_without_a_failed_request(containerd, network, files, container):
    assert start(containerd, network, files, container).returncode == 0
    load = Load(network.pid, 4, keeps=True, pause=0.01)
    try:
        until(lambda: len(load.answered) > 50, 20, containerd.log)
        containerd.ctr("task", "kill", "-s", "SIGTERM", container, check=True)
        until(lambda: containerd.status(container) == "STOPPED", 20, containerd.log)
        before = len(load.answered)
        assert start(containerd, network, files, f"{container}-2").returncode == 0
        until(lambda: len(load.answered) > before + 50, 20, containerd.log)
    finally:
        load.end()
    assert load.failed == []
    assert set(load.answered) == {200}
    containerd.remove(container, f"{container}-2")


def test_a_port_that_is_taken_is_reported_by_the_client(containerd, network, files, container):
    assert start(containerd, network, files, container).returncode == 0
    done = start(containerd, network, files, f"{container}-2")
    assert done.returncode == 1
    assert "cannot be served at 0.0.0.0:8080: Address already in use" in done.stderr
    assert "[PLG-SERVE]" in done.stderr
    flag = ("--annotation", "io.pelagos.wasm.http-address=8081")
    containerd.remove(f"{container}-2")
    assert start(containerd, network, files, f"{container}-3", "rust", *flag).returncode == 0
    assert inside(network.pid, functools.partial(get, port=8081)) == (200, "hello\n")
    containerd.remove(container, f"{container}-3")


def test_on_the_hosts_network_it_is_refused(containerd, files, container):
    done = containerd.run(RUNTIME, files, container, "/rust.wasm", flags=("--detach", "--net-host"))
    assert done.returncode == 1
    assert "it has no network" in done.stderr
    containerd.remove(container)
