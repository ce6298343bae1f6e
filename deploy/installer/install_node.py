"""Install pelagos on the node that this container runs on, and take it back when the container ends.

Runs as the first process of a privileged container with the host's pids, with the node's root directory at /host
and the archive's /opt/pelagos in the image (DaemonSet in ../installer.yaml). Environment:

PELAGOS_RESTART   false: containerd is not restarted. Then it knows the runtime when something else has restarted it.
PELAGOS_ON_EXIT   keep: what was installed stays when the container ends.

On the node /opt/pelagos is a link to a directory of this image's, which is replaced by one rename: at each moment a pod
finds the old version or the new one. A directory of that name that is there already is another installation's.

An update starts the new pod beside the old one, which ends once the new one is ready (`install_node.py ready`). What is
installed is the new pod's then, and the old one leaves it alone.
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
_OWNER = "installed-by"  # in the tree, once the node is ready: the pod's name
_NAMESPACES = ("cgroup", "ipc", "uts", "net", "mnt")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Failed(Exception):
    """The node cannot be made ready; the text says why."""


def install() -> str:
    """Put the tree in place and have the node's own copy of `pelagos` do the rest.

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
        os.sync()  # a link to files that a crash has left empty would be worse than none
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
    """Whether this pod has installed what is on the node. In a process of its own, of the kubelet's probe."""
    try:
        with open(f"{_HOST}{_TREE}/{_OWNER}", encoding="ascii") as file:
            return file.read() == os.uname().nodename
    except OSError:
        return False


def uninstall(name: str) -> None:
    """Take all of it back, unless another pod has installed since. Raises Failed or OSError.

    name: as from `install`.
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
                # At once for the daemons that have the tree in sys.path: they keep all engines, and not some.
                gone = f"{place}/{_PREFIX}{secrets.token_hex(4)}"
                os.rename(path, gone)
                shutil.rmtree(gone)


def _on_the_node(command: str) -> None:
    """Run `pelagos` in the node's namespaces: there are its containerd, systemd and files."""
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
    """Install, wait for the end of the pod, uninstall. With the word `ready`: whether that has come so far."""
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
