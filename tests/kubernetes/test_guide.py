"""docs/kubernetes.md, followed word for word: its files are written, its commands run, and they print what is shown."""

import re
from pathlib import Path

import pytest

from tests.support.crictl import PAUSE_IMAGE

PAGE = Path(__file__).parent.parent.parent / "docs/kubernetes.md"
PLACE = "/opt/guide"
# What is done to the node there is done by the cluster's fixture, which has no package index.
SET_UP = ("python3 -m venv", "/opt/pelagos/bin/")


def blocks(*languages):
    found = re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return [text for language, text in found if language in languages]


def sessions():
    """The commands of the page, each with what it prints."""
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


@pytest.fixture
def guide(cluster):
    """The page's files in a directory of the node, and the image that they name, which is of a registry elsewhere."""
    for text in blocks("yaml", "wat"):
        name = re.match(r"(?:#|;;) (\S+)\n", text)[1]
        cluster.machine.write(f"{PLACE}/{name}", text)
    cluster.machine.run("ctr", "-n", "k8s.io", "images", "tag", "--force", PAUSE_IMAGE, "registry.k8s.io/pause:3.10")
    yield
    cluster.kubectl("delete", "configmap", "hello", "work", "--ignore-not-found")
    cluster.kubectl("label", "node", "--all", "pelagos.io/runtime-")
    cluster.kubectl("delete", "runtimeclass", "pelagos")
    cluster.give_runtime_class()


def test_the_guide_is_right(cluster, guide):
    cluster.kubectl("delete", "runtimeclass", "pelagos")
    for command, output in sessions():
        done = cluster.machine.run("sh", "-c", f"cd {PLACE} && {command}", check=False)
        assert (done.stdout, done.returncode) == (output, 0), f"{command}: {done.stdout}{done.stderr}"


def test_the_commands_for_the_node_are_those_of_the_page_on_nodes():
    nodes = (PAGE.parent / "nodes.md").read_text()
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert commands
    for line in commands:
        assert line.startswith(SET_UP)
        assert f"{line}\n" in nodes
