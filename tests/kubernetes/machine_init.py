"""The first process of a machine of namespaces: makes its mounts and network, then reaps.

    python -m tests.kubernetes.machine_init DIRECTORY

It is process 1 of its PID namespace: all others end with it, and orphans become its children.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

NODE_ADDRESS = "192.0.2.10"  # of a documentation network (RFC 5737): it leads nowhere
HOST_NAME = "node"
# Directories of the node's own, empty at first; and those in which it sees the host's files below its own.
_OWN = ("var/lib", "var/log", "var/cache", "opt")
_ABOVE = ("etc", "usr/local")
# What a kubelet would write to the one kernel of this host: it finds it done, and writes nothing.
_KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def main(directory: Path) -> None:
    """Make the machine in these namespaces, say that it is ready, and stay."""
    _mount_files(directory / "disk")
    _mount_kernel_views(directory)
    _make_network()
    _run("hostname", HOST_NAME)
    (directory / "ready").touch()
    # SIGTERM has no default action for process 1 of a namespace, and ^C is not for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        _reap()
        signal.sigwait({signal.SIGCHLD})


def _mount_files(disk: Path) -> None:
    _run("mount", "--make-rprivate", "/")
    for name in _ABOVE:
        upper, work = disk / "above" / name, disk / "work" / name
        upper.mkdir(parents=True, exist_ok=True)
        work.mkdir(parents=True, exist_ok=True)
        options = f"lowerdir=/{name},upperdir={upper},workdir={work}"
        _run("mount", "-t", "overlay", "-o", options, "overlay", f"/{name}")
    for name in _OWN:
        (disk / name).mkdir(parents=True, exist_ok=True)
        _run("mount", "--bind", str(disk / name), f"/{name}")
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for name in ("lock", "netns", "kernel"):
        Path("/run", name).mkdir()


def _mount_kernel_views(directory: Path) -> None:
    groups = Path("/run/kernel/cgroup")
    groups.mkdir()
    _run("mount", "--rbind", "/sys/fs/cgroup", str(groups))
    _run("mount", "-t", "sysfs", "sysfs", "/sys")
    _run("mount", "--rbind", str(groups), "/sys/fs/cgroup")
    _run("umount", "-R", str(groups))
    _run("mount", "-t", "proc", "proc", "/proc")
    for path, value in {**_KERNEL_SETTINGS, "kernel/random/boot_id": str(uuid.uuid4())}.items():
        cover = Path("/run/kernel", path.replace("/", "."))
        cover.write_text(f"{value}\n")
        _run("mount", "--bind", str(cover), f"/proc/sys/{path}")
    # A user namespace may mount a /proc only where one without such covers is in sight (mount_namespaces(7)).
    whole = Path("/run/kernel/proc")
    whole.mkdir()
    _run("mount", "-t", "proc", "proc", str(whole))
    _run("mount", "--make-rshared", "/")  # as systemd has it: volumes of pods need it


def _make_network() -> None:
    """The node's address is on a bridge; a pair of devices keeps that up. No way leads out of it."""
    for words in (
        "link set lo up",
        "link add node0 type bridge",
        "link add node1 type veth peer name node2",
        "link set node1 master node0",
        f"address add {NODE_ADDRESS}/24 dev node0",
        "link set node0 up",
        "link set node1 up",
        "link set node2 up",
        "route add default dev node0",  # the addresses of Services are looked up before they are translated
    ):
        _run("ip", *words.split())
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _reap() -> None:
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def _run(*words: str) -> None:
    subprocess.run(words, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
