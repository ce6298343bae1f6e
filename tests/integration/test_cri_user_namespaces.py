"""Pods with `hostUsers: false`, on the first containerd that offers them to any shim, and `ctr --uidmap` there."""

import os
from pathlib import Path

import pytest

from tests.conftest import leave_out
from tests.support import provision
from tests.support.containerd import Containerd, until
from tests.support.crictl import CRI_CONFIG, GUESTS_IMAGE, Crictl
from tests.support.traces import nothing_is_left

pytestmark = [
    pytest.mark.root,
    pytest.mark.containerd,
    pytest.mark.crictl,
    pytest.mark.guests,
]

OWNER = (100000, 200000)


@pytest.fixture(scope="module")
def daemon(bin_dir):
    if not provision.has_containerd((provision.BUILT,)):
        leave_out(f"needs containerd {provision.BUILT}: `make test-setup` builds it")
    # Of its snapshotters this one can show an image's files through a map of ids.
    found = Containerd(bin_dir, release=provision.BUILT, cri=CRI_CONFIG + '      snapshotter = "overlayfs"\n')
    yield found
    found.close()


@pytest.fixture(scope="module")
def crictl(daemon, images):
    return Crictl(daemon, images, user_namespace=True)


def ended(crictl, container):
    until(lambda: crictl.status(container)["state"] == "CONTAINER_EXITED", 20)
    return crictl.status(container)["exitCode"], crictl.run("logs", container).stdout


def owner_of(daemon, name):
    """The owner, on the host, of a file that a container has written in its root."""
    (path,) = (daemon.directory / "root").rglob(f"snapshots/*/fs/{name}")
    return path.stat().st_uid, path.stat().st_gid


def test_the_guests_of_a_pod_run_and_own_their_files(crictl, daemon, pod, container):
    assert ended(crictl, crictl.start(pod, container, "hello", "/hello.wasm")) == (0, "hello\n")
    assert ended(crictl, crictl.start(pod, container, "write", "/tool.wasm", "write", "/new", "x")) == (0, "")
    assert owner_of(daemon, "new") == OWNER
    hosts = ended(crictl, crictl.start(pod, container, "hosts", "/tool.wasm", "read", "/etc/hosts"))
    assert (hosts[0], "localhost" in hosts[1]) == (0, True)
    listed = ended(crictl, crictl.start(pod, container, "list", "/tool.wasm", "ls", "/"))[1].split()
    assert {"proc", "sys", "merged"}.isdisjoint(listed)


def test_a_running_guest_is_unprivileged_on_the_host_and_can_be_probed(crictl, daemon, pod, container):
    spin = crictl.start(pod, container, "spin", "/spin.wasm")
    pid = daemon.ctr("-n", "k8s.io", "task", "ls", check=True).stdout.partition(spin)[2].split()[0]
    assert os.stat(f"/proc/{pid}").st_uid in (0, OWNER[0])  # of root, where it cannot be inspected
    uids = [line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Uid:")]
    assert uids == [str(OWNER[0])]
    assert crictl.run("exec", "-s", spin, "/tool.wasm", "args", "x").stdout.rstrip() == "/tool.wasm\nargs\nx"
    crictl.run("stop", "--timeout", "30", spin)
    assert ended(crictl, spin)[0] == 143


def test_policies_hold_in_there(crictl, container):
    pod = crictl.run_pod(container, dirs="/etc:ro", dirs__none="none")
    try:
        code, listed = ended(crictl, crictl.start(pod, container, "some", "/tool.wasm", "ls", "/etc"))
        assert (code, sorted(listed.split())) == (0, ["hostname", "hosts", "resolv.conf"])
        assert ended(crictl, crictl.start(pod, container, "more", "/tool.wasm", "ls", "/dev")) == (1, "")
        assert ended(crictl, crictl.start(pod, container, "none", "/tool.wasm", "ls", "/etc")) == (1, "")
    finally:
        crictl.run("rmp", "-f", pod)


def test_a_removed_pod_leaves_nothing(crictl, daemon, container):
    pod = crictl.run_pod(container)
    spin = crictl.start(pod, container, "spin", "/spin.wasm")
    crictl.run("rmp", "-f", pod)
    for name in (pod, spin):
        nothing_is_left(daemon.directory, name)


def test_ctr_gives_a_container_a_user_namespace(crictl, daemon, container):
    maps = ("--uidmap", f"0:{OWNER[0]}:65536", "--gidmap", f"0:{OWNER[1]}:65536", "--remap-labels")
    where = ("-n", "k8s.io", "run", "--rm", "--fifo-dir", str(daemon.directory / "fifo"), "--snapshotter", "overlayfs")
    words = ("--runtime", "io.containerd.pelagos.wasm.v1", GUESTS_IMAGE, container, "/tool.wasm", "args", "x")
    done = daemon.ctr(*where, *maps, *words)
    assert (done.returncode, done.stdout) == (0, "/tool.wasm\nargs\nx\n"), done.stderr
    nothing_is_left(daemon.directory, container)
