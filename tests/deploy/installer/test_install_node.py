"""The program of the DaemonSet: what a pod that ends leaves to the one that has installed since."""

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[3] / "deploy/installer/install_node.py"


@pytest.fixture
def pod(tmp_path, monkeypatch):
    """Makes the program of one pod, on a node that is a directory. `done`: what it has called on the node."""
    image = tmp_path / "image"
    image.mkdir()
    (image / "version").write_text("1")
    copytree = shutil.copytree
    monkeypatch.setattr(shutil, "copytree", lambda _, target, **options: copytree(image, target, **options))

    def make(name):
        spec = importlib.util.spec_from_file_location("install_node", SOURCE)
        found = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
        found.done = []
        found._HOST = str(tmp_path / "host")
        found._sees_the_node = lambda: True
        found._on_the_node = found.done.append
        found.named = lambda: monkeypatch.setattr(os, "uname", lambda: type("Names", (), {"nodename": name}))
        return found

    return make


def on_the_node(tmp_path):
    return sorted(name.partition("-")[0] for name in os.listdir(tmp_path / "host/opt"))


def test_what_is_installed_is_taken_back(pod, tmp_path):
    one = pod("one")
    name = one.install()
    assert on_the_node(tmp_path) == [".pelagos", "pelagos"]
    one.uninstall(name)
    assert (one.done, on_the_node(tmp_path)) == (["install", "uninstall"], [])


def test_an_update_takes_nothing_back(pod, tmp_path):
    old, new = pod("old"), pod("new")
    old.named()
    before = old.install()
    assert old.is_ready()
    new.named()
    assert not new.is_ready()
    after = new.install()
    assert new.is_ready()
    old.uninstall(before)
    assert old.done == ["install"]
    assert os.readlink(tmp_path / "host/opt/pelagos") == after
    new.uninstall(after)
    assert (new.done, on_the_node(tmp_path)) == (["install", "uninstall"], [])


def test_a_node_that_pelagos_cannot_be_installed_on_is_not_ready(pod):
    one = pod("one")

    def failing(command):
        raise one.Failed(command)

    one._on_the_node = failing
    with pytest.raises(one.Failed):
        one.install()
    assert not one.is_ready()
