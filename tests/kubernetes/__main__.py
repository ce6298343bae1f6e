"""A cluster to play with.

    python -m tests.kubernetes up [--containerd RELEASE]
    python -m tests.kubernetes kubectl WORDS...
    python -m tests.kubernetes shell
    python -m tests.kubernetes down

`up` takes half a minute. `shell` is root's on the node, where `kubectl`, `ctr` and `pelagos` are. `down` ends every
process and removes the disk, the mounts, the network and the control groups: nothing is left.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from tests.kubernetes.cluster import Cluster
from tests.kubernetes.images import give_images
from tests.support import provision

DIRECTORY = provision.CACHE / "cluster"


def main(words: list[str]) -> int:
    """Do what the words say; the exit code."""
    parser = argparse.ArgumentParser("python -m tests.kubernetes", description="A Kubernetes of one node to play with.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", help="make the cluster")
    up.add_argument("--containerd", choices=provision.RELEASES, default=provision.BUILT, help="which release of it")
    kubectl = verbs.add_parser("kubectl", help="run kubectl with the words that follow", add_help=False)
    kubectl.add_argument("words", nargs=argparse.REMAINDER)
    verbs.add_parser("shell", help="be root on the node")
    verbs.add_parser("down", help="end it; nothing is left")
    asked = parser.parse_args(words)
    if lacks := _lacking():
        print(lacks, file=sys.stderr)
        return 1
    if asked.verb == "up":
        return _up(asked.containerd)
    if not (DIRECTORY / "machine.json").exists():
        print("there is no cluster: python -m tests.kubernetes up", file=sys.stderr)
        return 1
    cluster = Cluster(DIRECTORY)
    if asked.verb == "down":
        cluster.down()
        return 0
    if not cluster.machine.init:
        print("the cluster's machine has ended: python -m tests.kubernetes down, and up again", file=sys.stderr)
        return 1
    command = cluster.words_of_kubectl(*asked.words) if asked.verb == "kubectl" else cluster.machine.command("bash")
    return subprocess.run(command).returncode


def _lacking() -> str:
    if os.geteuid() != 0:
        return "a cluster needs root: it makes namespaces, mounts and control groups"
    if not provision.has_kubernetes() or not provision.has_containerd() or not provision.has_crictl():
        return "the cluster's programs are not there: `make cluster` gets them"
    return ""


def _up(release: str) -> int:
    if (DIRECTORY / "machine.json").exists():
        print("there is a cluster already: python -m tests.kubernetes down", file=sys.stderr)
        return 1
    cluster = Cluster(DIRECTORY, release)
    try:
        cluster.up()
        give_images(cluster)
    except BaseException:
        cluster.down()
        raise
    print("The node is ready, with the RuntimeClass `pelagos` and the images localhost/guests:test and")
    print("localhost/busybox:test. Try: python -m tests.kubernetes kubectl get nodes -o wide")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
