"""Installs pelagos on the node on which this container runs, and uninstalls it when the container ends.

Runs as the first process of a privileged container in the host's pid namespace (DaemonSet in ../installer.yaml). The
node's root directory is at /host, and the archive's /opt/pelagos is in the image. Environment variables:

PELAGOS_RESTART   false: do not restart containerd. It knows the runtime only after its next restart.
PELAGOS_ON_EXIT   keep: do not uninstall when the container ends.

On the node, /opt/pelagos is a link to a directory with the image's files. The link is replaced by rename(2), so a pod
always finds either the old or the new version. A directory with that name belongs to another installation.

An update starts the new pod while the old one runs. The old pod ends when the new one is ready (`install_node.py
ready`). The installation then belongs to the new pod, and the old pod does not remove it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import sys

_HOST = "/host"
_TREE = "/opt/pelagos"
_PREFIX = ".pelagos-"
_OWNER = "installed-by"  # a file in the tree with the pod's name; written when the node is ready
_NAMESPACES = ("cgroup", "ipc", "uts", "net", "mnt")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Failed(Exception):
    """The installation has failed; the text says why."""


def install() -> str:
    """Copy the tree to the node, and run its `pelagos install` there.

    Returns the tree's name, for `uninstall`. Raises Failed or OSError.
    """
    if not _sees_the_node():
        raise Failed("process 1 is not the node's: the pod needs hostPID: true")
    place, link = f"{_HOST}/opt", f"{_HOST}{_TREE}"
    os.makedirs(place, mode=0o755, exist_ok=True)
    if os.path.isdir(link) and not os.path.islink(link):
        raise Failed(f"the node's {_TREE} is another installation's: `pelagos uninstall` there, then remove it")
    name = f"{_PREFIX}{secrets.token_hex(4)}"
    try:
        shutil.copytree(_TREE, f"{place}/{name}", symlinks=True)
        os.sync()  # after a crash, the link must not point to empty files
        os.symlink(name, f"{place}/{name}.link")
        os.rename(f"{place}/{name}.link", link)
    except BaseException:
        _remove_trees(place, keep=_current(link))
        raise
    _remove_trees(place, keep=name)
    _on_the_node("install")
    with open(f"{place}/{name}/{_OWNER}", "w", encoding="ascii") as file:
        file.write(os.uname().nodename)
    return name


def is_ready() -> bool:
    """Whether this pod's installation is complete. Runs in a separate process, for the kubelet's probe."""
    try:
        with open(f"{_HOST}{_TREE}/{_OWNER}", encoding="ascii") as file:
            return file.read() == os.uname().nodename
    except OSError:
        return False


def uninstall(name: str) -> None:
    """Remove the installation, unless another pod has installed since. Raises Failed or OSError.

    name: the tree's name that `install` has returned.
    """
    link = f"{_HOST}{_TREE}"
    if _current(link) != name:
        return
    _on_the_node("uninstall")
    os.unlink(link)
    _remove_trees(f"{_HOST}/opt", keep="")


def _sees_the_node() -> bool:
    return os.readlink("/proc/1/ns/mnt") != os.readlink("/proc/self/ns/mnt")


def _current(link: str) -> str:
    return os.readlink(link) if os.path.islink(link) else ""


def _remove_trees(place: str, keep: str) -> None:
    for name in os.listdir(place):
        path = f"{place}/{name}"
        if name.startswith(_PREFIX) and name != keep:
            if os.path.islink(path):
                os.unlink(path)
            else:
                # By one rename: a daemon with the tree in sys.path sees all engines or none, and then keeps all.
                gone = f"{place}/{_PREFIX}{secrets.token_hex(4)}"
                os.rename(path, gone)
                shutil.rmtree(gone)


def _on_the_node(command: str) -> None:
    """Run `pelagos` in the node's namespaces, where it finds containerd, systemd and the node's files."""
    words = [f"{_TREE}/bin/pelagos", command]
    words += [] if os.environ.get("PELAGOS_RESTART") == "false" else ["--restart"]
    namespaces = [os.open(f"/proc/1/ns/{name}", os.O_RDONLY) for name in _NAMESPACES]
    pid = os.fork()
    if pid == 0:
        try:
            for each in namespaces:
                os.setns(each)
            os.execve(words[0], words, {"PATH": _PATH})  # noqa: S606 (no shell is the point)
        finally:
            os._exit(127)
    for each in namespaces:
        os.close(each)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise Failed(f"pelagos {command} on the node: exit code {code}")


def main() -> int:
    """Install, wait for the pod's termination, uninstall. With the argument `ready`, report whether it is installed."""
    if sys.argv[1:] == ["ready"]:
        return 0 if is_ready() else 1
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    try:
        name = install()
        print("this node is ready", flush=True)
        signal.sigwait(ends)
        if os.environ.get("PELAGOS_ON_EXIT") != "keep":
            uninstall(name)
    except (Failed, OSError) as error:
        print(f"pelagos installer: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
