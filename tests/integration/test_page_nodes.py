"""A node is set up, upgraded and cleaned as the pages say; its index of packages is a directory."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import page_session, pages, provision

pytestmark = [pytest.mark.root, pytest.mark.containerd, pytest.mark.slow, pytest.mark.timeout(300)]

PAGES = ("docs/nodes.md", "docs/upgrading.md")
OTHERS = ("README.md", "docs/kubernetes.md", "docs/tutorial/pod.md")
RELEASE = "trixie"
CRI = "io.containerd.grpc.v1.cri"
# As on a node of a cluster, and what a container in a container needs.
CONFIG = f"""\
version = 2
[plugins."{CRI}"]
  restrict_oom_score_adj = true
  sandbox_image = "registry.example/pause:1"
[plugins."io.containerd.internal.v1.opt"]
  path = "/run/opt"
"""
# `--restart` needs systemd: tests/integration/test_install_restart.py has one. Here the session restarts containerd.
WORDS = {"install --restart": "install && restart"}
BEFORE = """\
start() {
    containerd >>containerd.log 2>&1 &
    until ctr version >/dev/null 2>&1; do sleep 0.2; kill -0 $! || { cat containerd.log; exit 1; }; done
}
restart() { kill $!; wait $!; start; }
mkdir -p /etc/containerd
cp config.toml /etc/containerd/config.toml
start
"""


def test_a_node_is_set_up_upgraded_and_cleaned(published, tmp_path):
    index = shutil.copytree(published, tmp_path / "index")
    words = [sys.executable, "-m", "pip", "download", "-q", "-d", index, *index.glob("*.whl")]
    subprocess.run(words, check=True, capture_output=True)
    (tmp_path / "config.toml").write_text(CONFIG)
    programs = provision.containerd_directory(RELEASE) / "usr"
    environment = {
        "PATH": f"/usr/local/bin:{Path(sys.executable).parent}:{programs}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(index),
    }
    after = (
        "[ ! -e /opt/pelagos ] && cmp config.toml /etc/containerd/config.toml; code=$?; kill $!; wait $!; exit $code"
    )
    sessions = pages.given_to(__file__, *PAGES, languages=("sh",))
    page_session.run(sessions, tmp_path, environment, before=BEFORE, after=after, words=WORDS, seconds=200)


@pytest.mark.parametrize("block", pages.given_to(__file__, *OTHERS), ids=lambda block: block.place)
def test_other_pages_set_a_node_up_by_the_same_commands(block):
    known = {command.text for each in pages.given_to(__file__, *PAGES) for command in each.commands()}
    assert {command.text for command in block.commands()} <= known


def test_the_runtime_options_are_where_containerd_has_them(tmp_path):
    (block,) = pages.given_to(__file__, "docs/configuration.md")
    table = 'plugins."io.containerd.cri.v1.runtime".containerd.runtimes.pelagos'
    runtime = f'version = 3\n[{table}]\n  runtime_type = "io.containerd.pelagos.wasm.v1"\n'
    (tmp_path / "config.toml").write_text(runtime + block.text)
    containerd = provision.containerd_directory("sid") / "usr/bin/containerd"
    words = [containerd, "--config", tmp_path / "config.toml", "config", "dump"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("runtime = 'wasmedge'") == 1
    assert "unknown" not in done.stderr
