"""docs/kubernetes.md, followed word for word: its files are written, its commands run, and they print what is shown."""

import re

import pytest

from tests.support import pages
from tests.support.crictl import PAUSE_IMAGE

PAGE = "docs/kubernetes.md"
PLACE = "/opt/guide"


@pytest.fixture
def guide(cluster):
    """The page's files in a directory of the node, and the image that they name, which is of a registry elsewhere."""
    for block in pages.given_to(__file__, PAGE, languages=("yaml", "wat")):
        name = re.match(r"(?:#|;;) (\S+)\n", block.text)[1]
        cluster.machine.write(f"{PLACE}/{name}", block.text)
    cluster.machine.run("ctr", "-n", "k8s.io", "images", "tag", "--force", PAUSE_IMAGE, "registry.k8s.io/pause:3.10")
    yield
    cluster.kubectl("delete", "configmap", "hello", "work", "--ignore-not-found")
    cluster.kubectl("label", "node", "--all", "pelagos.io/runtime-")
    cluster.kubectl("delete", "runtimeclass", "pelagos")
    cluster.give_runtime_class()


def test_the_guide_is_right(cluster, guide):
    cluster.kubectl("delete", "runtimeclass", "pelagos")
    for block in pages.given_to(__file__, PAGE, languages=("console",)):
        for command in block.commands():
            done = cluster.machine.run("sh", "-c", f"cd {PLACE} && {command.text}", check=False)
            said = f"{command.place}: {command.text!r} prints\n{done.stdout}{done.stderr}"
            assert done.returncode == 0, said
            assert not pages.differs(command.output, done.stdout), said
