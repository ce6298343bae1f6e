"""The DaemonSet of deploy/ on a cluster of its own: it changes the node's launchers, which other tests use."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from scripts import node_packages
from tests.conftest import leave_out
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.images import give_images
from tests.support import node_root, pages, provision
from tests.support.containerd import until
from tests.support.crictl import GUESTS_IMAGE

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
RELEASE = "trixie"  # it comes with runc's shim, under which the installer runs
IMAGE = "docker.io/library/pelagos-installer"  # what docs/nodes.md says to write


pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def own_cluster():
    """A cluster whose node has no pelagos."""
    if not provision.has_containerd((RELEASE,)):
        leave_out(f"needs containerd {RELEASE}: `make test-setup` gets it")
    directory = Path(tempfile.mkdtemp(prefix="kube-"))
    found = Cluster(directory, RELEASE)
    try:
        found.up()
        give_images(found)
        on_the_node(found, sys.executable, "-m", "pelagos_core", "uninstall")
        yield found
    finally:
        found.down()
        assert not directory.exists()


def follow_the_page(cluster, packages, installer, node):
    """Run the commands of docs/nodes.md. installer: the file, with the name of the image in it."""
    shown, archive = (
        f"pelagos-installer-{node_packages.version()}-linux-x86_64.tar",
        f"-{node_packages.version()}-linux-{os.uname().machine}",
    )
    cluster.machine.write(f"/opt/guide/dist/{shown}", (packages / f"pelagos-installer{archive}.tar").read_bytes())
    cluster.machine.write("/opt/guide/deploy/installer.yaml", installer)
    cluster.machine.write("/opt/guide/deploy/runtimeclass.yaml", (DEPLOY / "runtimeclass.yaml").read_text())
    (block,) = pages.given_to(__file__)
    for command in block.commands():
        cluster.machine.run("sh", "-c", f"cd /opt/guide && {command.text.replace('NODE', node)}")
    cluster.machine.run("rm", "-r", "/opt/guide")


def on_the_node(cluster, *words):
    done = subprocess.run(cluster.machine.command(*words), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_labelled_node_gets_the_runtime_and_loses_it_with_the_label(own_cluster, tmp_path):
    """containerd is no service of systemd on this node; it has known the handler since its start."""
    packages = node_root.packages(tmp_path)
    node = own_cluster.get("nodes")["items"][0]["metadata"]["name"]
    before = on_the_node(own_cluster, "cat", "/etc/containerd/config.toml")
    text = (DEPLOY / "installer.yaml").read_text().replace("registry.example/pelagos-installer", IMAGE)
    text = text.replace('value: "true"', 'value: "false"')
    follow_the_page(own_cluster, packages, text, node)
    own_cluster.kubectl("-n", "pelagos", "rollout", "status", "daemonset/pelagos-installer", "--timeout=120s")

    def log():
        return own_cluster.kubectl("-n", "pelagos", "logs", "daemonset/pelagos-installer", check=False).stdout

    until(lambda: "this node is ready" in log(), 60, log)
    assert "changed /etc/containerd/config.toml" in log()
    pod = (DEPLOY / "examples/pod.yaml").read_text().replace("registry.k8s.io/pause:3.10", GUESTS_IMAGE)
    own_cluster.kubectl("apply", "-f", "-", typed=pod)
    own_cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/hello", "--timeout=60s")
    own_cluster.kubectl("delete", "pod", "hello")

    own_cluster.kubectl("label", "node", node, "pelagos.io/runtime-")
    until(lambda: "pelagos" not in on_the_node(own_cluster, "ls", "-A", "/opt", "/usr/local/bin"), 60)
    assert on_the_node(own_cluster, "cat", "/etc/containerd/config.toml") == before
