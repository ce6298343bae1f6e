"""The files in deploy/, as they are but for the names of images, which are in no registry here."""

import json
from pathlib import Path

import pytest

from tests.kubernetes.images import BUSYBOX_IMAGE, RUNTIME_CLASS
from tests.support.containerd import until
from tests.support.crictl import GUESTS_IMAGE

DEPLOY = Path(__file__).parent.parent.parent / "deploy"


@pytest.fixture(scope="module", autouse=True)
def labelled(cluster):
    """The node has the label, and the RuntimeClass is that of deploy/, until the tests of this module are done."""
    node = cluster.get("nodes")["items"][0]["metadata"]["name"]
    cluster.kubectl("label", "node", node, "pelagos.io/runtime=true")
    cluster.kubectl("apply", "-f", "-", typed=(DEPLOY / "runtimeclass.yaml").read_text())
    yield
    cluster.kubectl("delete", "runtimeclass", "pelagos")
    cluster.apply(RUNTIME_CLASS)
    cluster.kubectl("label", "node", node, "pelagos.io/runtime-")


def apply(space, name):
    text = (DEPLOY / "examples" / name).read_text()
    text = text.replace("registry.k8s.io/pause:3.10", GUESTS_IMAGE).replace("busybox:1.37", BUSYBOX_IMAGE)
    space.kubectl("apply", "-f", "-", typed=text)


def phases(space):
    pods = json.loads(space.kubectl("get", "pods", "-o", "json").stdout)["items"]
    return {pod["metadata"]["name"]: pod["status"]["phase"] for pod in pods}


def test_a_pod_runs_and_its_overhead_and_place_are_set(space):
    apply(space, "pod.yaml")
    space.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/hello", "--timeout=60s")
    assert space.kubectl("logs", "hello").stdout == "hello\n"
    spec = json.loads(space.kubectl("get", "pod", "hello", "-o", "json").stdout)["spec"]
    assert spec["overhead"] == {"cpu": "5m", "memory": "20Mi"}
    assert spec["nodeSelector"] == {"pelagos.io/runtime": "true"}


def test_a_job_completes(space):
    apply(space, "job.yaml")
    space.kubectl("wait", "--for=condition=complete", "job/hello", "--timeout=90s")
    assert len(phases(space)) == 5


def test_a_deployment_serves_its_page(space):
    apply(space, "deployment.yaml")
    space.kubectl("rollout", "status", "deployment/page", "--timeout=90s")
    address = json.loads(space.kubectl("get", "pods", "-o", "json").stdout)["items"][0]["status"]["podIP"]
    until(
        lambda: (
            "hello from WebAssembly"
            in space.kubectl("exec", "deploy/page", "-c", "web", "--", "wget", "-qO-", f"http://{address}:8080/").stdout
        )
    )
    slices = json.loads(space.kubectl("get", "endpointslices", "-o", "json").stdout)["items"]
    assert [len(each["endpoints"]) for each in slices] == [2]


def test_a_sidecar_ends_after_the_guest(space):
    apply(space, "sidecar.yaml")
    space.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/hello-sidecar", "--timeout=60s")
    assert space.kubectl("logs", "hello-sidecar", "-c", "hello").stdout == "hello\n"


def test_an_engine_that_the_node_has_runs_and_another_is_told(space):
    apply(space, "engines.yaml")
    space.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/hello-wasmtime", "--timeout=60s")
    assert set(phases(space)) == {"hello-wasmtime", "hello-wasmedge", "hello-wasmer"}
