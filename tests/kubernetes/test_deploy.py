"""What is in deploy/ runs on a cluster as it is."""

from pathlib import Path

import pytest
import yaml

from scripts import engines
from tests.conftest import leave_out
from tests.kubernetes.images import BUSYBOX_IMAGE
from tests.support.crictl import PAUSE_IMAGE

PLACE = Path(__file__).parent.parent.parent / "deploy"
LABEL = "pelagos.io/runtime"


@pytest.fixture
def node(cluster):
    """A node with the label and the class of deploy/, and the images of registries elsewhere, under their names."""
    names = {PAUSE_IMAGE: "registry.k8s.io/pause:3.10", BUSYBOX_IMAGE: "docker.io/library/busybox:1.37"}
    for ours, name in names.items():
        cluster.machine.run("ctr", "-n", "k8s.io", "images", "tag", "--force", ours, name)
    cluster.kubectl("delete", "runtimeclass", "pelagos")
    cluster.kubectl("label", "node", "--all", f"{LABEL}=true")
    cluster.kubectl("apply", "-f", str(PLACE / "runtimeclass.yaml"))
    yield
    cluster.kubectl("label", "node", "--all", f"{LABEL}-")
    cluster.kubectl("delete", "runtimeclass", "pelagos")
    cluster.give_runtime_class()


def objects(name):
    return [each for each in yaml.safe_load_all((PLACE / f"examples/{name}.yaml").read_text()) if each]


def ends_well(space, each):
    """Wait until an object has done what it is for."""
    what = f"{each['kind'].lower()}/{each['metadata']['name']}"
    if each["kind"] == "Pod":
        space.wait(what, "jsonpath={.status.phase}=Succeeded", 90)
    elif each["kind"] == "Job":
        space.wait(what, "condition=Complete", 90)
    elif each["kind"] == "Deployment":
        space.wait(what, "condition=Available", 90)


@pytest.mark.parametrize("name", ["pod", "job", "deployment", "sidecar"])
def test_an_example_runs_also_where_pods_must_be_restricted(space, node, name):
    space.kubectl("label", "namespace", space.name, "pod-security.kubernetes.io/enforce=restricted")
    made = objects(name)
    space.apply(*made)
    for each in made:
        ends_well(space, each)


def test_the_example_of_engines_runs_each(space, cluster, node):
    if not engines.present():
        leave_out("needs WasmEdge and Wasmer: `make engines` gets them")
    cluster.machine.write("/etc/pelagos/config.toml", engines.config())
    try:
        made = objects("engines")
        space.apply(*made)
        for each in made:
            ends_well(space, each)
    finally:
        cluster.machine.run("rm", "/etc/pelagos/config.toml")
