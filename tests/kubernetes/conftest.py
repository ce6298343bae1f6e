"""One cluster for all tests, and a namespace for each."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import leave_out
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.images import give_images
from tests.kubernetes.space import Space
from tests.support import leftovers, provision


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.kubernetes)
            item.add_marker(pytest.mark.root)
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="module", autouse=True)
def _no_process_goes_on() -> None:
    """In place of the check of all other modules: the cluster goes on until the session ends, and is checked there."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster on the containerd that KUBERNETES_CONTAINERD names, one of provision.RELEASES."""
    release = os.environ.get("KUBERNETES_CONTAINERD", provision.BUILT)
    if not provision.has_containerd((release,)):
        leave_out(f"needs containerd {release}: `make test-setup` gets it")
    directory = Path(tempfile.mkdtemp(prefix="kube-"))
    found = Cluster(directory, release)
    try:
        found.up()
        give_images(found)
        yield found
    finally:
        found.down()
        assert not directory.exists()
        assert not leftovers.processes(str(directory))


@pytest.fixture
def space(cluster: Cluster) -> Iterator[Space]:
    """A new namespace; its objects are removed after the test."""
    name = f"t-{os.urandom(4).hex()}"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("-n", name, "wait", "--for=create", "serviceaccount/default", "--timeout=30s")
    yield Space(cluster, name)
    cluster.kubectl("delete", "namespace", name, "--wait=false")
