"""What breaks on a node, and what becomes of its pods."""

import signal
import tempfile
from pathlib import Path

import pytest

from tests.conftest import leave_out
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.images import give_images
from tests.kubernetes.space import Space, deployment, guest, job, native, pod, waiting_guest
from tests.support import provision
from tests.support.containerd import until


def runs_on(space, name):
    """A pod's container runs, has not been started again, and can be entered."""
    space.wait(f"pod/{name}", "condition=Ready")
    assert space.status(name)["restartCount"] == 0
    answers(space, name)


def answers(space, name):
    """A pod can be entered: the kubelet, and containerd behind it, know it again."""
    ask = ("exec", name, "-c", "guest", "--", "/hello.wasm")
    until(lambda: space.kubectl(*ask, check=False).stdout == "hello\n", 60)


def test_pods_go_on_while_the_kubelet_is_dead(space, cluster):
    space.ready(pod("one", waiting_guest(), native("/bin/sleep", "1000")))
    space.ready(pod("ends", waiting_guest(), waiting_guest("other")))
    container = space.status("ends")["containerID"].rpartition("/")[2]
    cluster.services["kubelet"].stop(signal.SIGKILL)
    try:
        cluster.machine.run("ctr", "-n", "k8s.io", "task", "kill", "-s", "SIGTERM", container)
    finally:
        cluster.start_kubelet()
    runs_on(space, "one")
    assert space.ended("ends")["exitCode"] == 143
    assert "running" in space.status("ends", "other")["state"]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_pods_go_on_while_containerd_is_dead(space, cluster, signum):
    space.ready(pod("one", waiting_guest(), native("/bin/sleep", "1000")))
    cluster.services["containerd"].stop(signum)
    cluster.start_containerd()
    runs_on(space, "one")
    assert space.output("next", guest("/hello.wasm")) == "hello\n"


def test_a_shim_that_is_killed_ends_its_pod_alone_which_is_started_again(space, cluster):
    space.ready(pod("one", waiting_guest(), restartPolicy="Always"), pod("other", waiting_guest()))
    container = space.status("one")["containerID"].rpartition("/")[2]
    task = cluster.machine.run("ctr", "-n", "k8s.io", "task", "ls").stdout.partition(container)[2].split()[0]
    shim = cluster.machine.run("ps", "-o", "ppid=", "-p", task).stdout.strip()
    cluster.machine.run("kill", "-KILL", shim)
    until(lambda: space.status("one")["restartCount"] >= 1, 90, lambda: space.describe("one"))
    space.wait("pod/one", "condition=Ready", 90)
    answers(space, "one")
    runs_on(space, "other")


def test_a_node_that_reboots_has_its_pods_again(space, cluster):
    space.apply(deployment("web", 2, waiting_guest()), job("before", guest("/hello.wasm")))
    space.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    space.wait("job/before", "condition=Complete")
    before = space.get("node", "node")["status"]["nodeInfo"]["bootID"]
    cluster.power_off()
    try:
        assert not cluster.machine.traces()
    finally:
        cluster.power_on()
    assert space.get("node", "node")["status"]["nodeInfo"]["bootID"] != before
    until(lambda: all(status["restartCount"] for status in statuses(space, "app=web")), 90)
    space.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    assert len(space.names("app=web")) == 2
    assert space.kubectl("exec", "deployment/web", "--", "/hello.wasm").stdout == "hello\n"
    assert space.output("after", guest("/hello.wasm")) == "hello\n"


def statuses(space, label):
    return [
        status for each in space.get("pods", "-l", label)["items"] for status in each["status"]["containerStatuses"]
    ]


@pytest.mark.parametrize(("old", "new"), [("bookworm", "trixie"), ("trixie", "2.4")])
def test_pods_go_on_while_containerd_is_upgraded(old, new):
    if not provision.has_containerd((old, new)):
        leave_out("needs every containerd: `make test-setup` gets them")
    cluster = Cluster(Path(tempfile.mkdtemp(prefix="kube-")), old)
    try:
        cluster.up()
        give_images(cluster)
        space = Space(cluster, "default")
        space.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=30s")
        space.ready(pod("one", waiting_guest(), native("/bin/sleep", "1000"), restartPolicy="Always"))
        cluster.services["containerd"].stop()
        cluster.start_containerd(new)
        runs_on(space, "one")
        assert space.output("next", guest("/hello.wasm")) == "hello\n"
    finally:
        cluster.down()
