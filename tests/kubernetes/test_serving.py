"""The walk-through of docs/serving.md: a Deployment and a Service, probed, under load while its pods are replaced."""

import tempfile
from pathlib import Path

import pytest
import yaml

from scripts import engines
from tests.conftest import leave_out
from tests.kubernetes.space import native, pod
from tests.support import pages, services
from tests.support.containerd import until
from tests.support.images import write_image

IMAGE = "registry.example.org/hello:1"  # of the page
ASK = "while :; do wget -qO- http://$HOST/ || echo bad; done"


@pytest.fixture
def service(cluster):
    """A node that has Wasmtime's program, and the image."""
    if not engines.present():
        leave_out("needs Wasmtime's program: `make engines` gets it")
    if not services.has():
        leave_out("needs the services: `make test-setup` builds them")
    with tempfile.TemporaryDirectory() as place:
        archive = Path(place, "hello.tar")
        write_image(archive, IMAGE, {"hello.wasm": services.component("rust")})
        cluster.import_image(archive)
    cluster.machine.write("/etc/pelagos/config.toml", engines.config())
    yield
    cluster.machine.run("rm", "/etc/pelagos/config.toml")


def manifests():
    (block,) = pages.given_to(__file__)
    return list(yaml.safe_load_all(block.text))


def test_the_service_of_the_page_is_replaced_under_load_without_a_failed_request(space, service):
    made, of_it = manifests()
    made["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = "Never"
    space.apply(made, of_it)
    space.kubectl("rollout", "status", "deployment/hello", "--timeout=120s")
    address = space.get("service", "hello")["spec"]["clusterIP"]
    client = native("/bin/sh", "-c", ASK, name="client", env=[{"name": "HOST", "value": address}])
    space.ready(pod("client", client))
    until(lambda: space.logs("client").count("hello") > 20, 60, lambda: space.logs("client")[-900:])
    before = set(space.names("app=hello"))
    space.kubectl("rollout", "restart", "deployment/hello")
    space.kubectl("rollout", "status", "deployment/hello", "--timeout=120s")
    until(lambda: before.isdisjoint(space.names("app=hello")), 60)
    said = space.logs("client")
    assert "bad" not in said.split()
    assert len(space.names("app=hello")) == 2
