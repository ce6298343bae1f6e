"""Runs `crictl` with a private containerd: a kubelet's calls as commands."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.support import provision
from tests.support.containerd import Containerd, until

PAUSE_IMAGE = "localhost/pause:test"
GUESTS_IMAGE = "localhost/guests:test"

# A pod with the host's network needs no network plugin. In CI's container, an oom score cannot be lowered.
CRI_CONFIG = """
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:test"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{0}/cni/bin"
    conf_dir = "{0}/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    default_runtime_name = "wasm"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.wasm]
      runtime_type = "io.containerd.pelagos.wasm.v1"
      pod_annotations = ["io.pelagos.wasm.*"]
      container_annotations = ["io.pelagos.wasm.*"]
"""
# The snapshotter into which containerd 2 unpacks pulled images; its default is overlayfs only.
UNPACKING = """
[plugins."io.containerd.transfer.v1.local"]
  [[plugins."io.containerd.transfer.v1.local".unpack_config]]
    platform = "linux/amd64"
    snapshotter = "native"
"""
_POD, _NODE = 0, 2  # runtime.v1.NamespaceMode: the pod's, the host's own
USER_NAMESPACE = {
    "uids": [{"host_id": 100000, "container_id": 0, "length": 65536}],
    "gids": [{"host_id": 200000, "container_id": 0, "length": 65536}],
}
"""The id mapping of the tests' pods with a user namespace; a kubelet gives each pod a different one."""

# A network plugin without connections: a pod with a user namespace cannot have the host's network.
_NETWORK = {"cniVersion": "1.0.0", "name": "none", "plugins": [{"type": "none"}]}
_PLUGIN = """#!/bin/sh
cat > /dev/null
[ "$CNI_COMMAND" != ADD ] || printf '{"cniVersion": "1.0.0", "interfaces": [{"name": "%s", "sandbox": "%s"}], "ips": [
  {"address": "192.0.2.2/24", "interface": 0}]}' "$CNI_IFNAME" "$CNI_NETNS"
"""


def offer_network(directory: Path) -> None:
    """Install a network plugin for the containerd in a directory; it gives each pod a network without connections."""
    for place in ("bin", "net.d"):
        (directory / "cni" / place).mkdir(parents=True, exist_ok=True)
    for name in ("none", "loopback"):
        plugin = directory / "cni/bin" / name
        plugin.write_text(_PLUGIN)
        plugin.chmod(0o755)
    (directory / "cni/net.d/none.conflist").write_text(json.dumps(_NETWORK))


def runtime_config(name: str, **options: str) -> str:
    """The CRI's config of one more runtime handler of ours, with a table of options."""
    table = f'[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{name}'
    lines = [f"{table}]", 'runtime_type = "io.containerd.pelagos.wasm.v1"', f"{table}.options]"]
    return "\n".join([*lines, *(f'{key} = "{value}"' for key, value in options.items()), ""])


class Crictl:
    """Creates pods and containers through the CRI."""

    def __init__(
        self, containerd: Containerd, images: Path, awaited: str = GUESTS_IMAGE, *, user_namespace: bool = False
    ) -> None:
        """Arguments: images: a directory of archives, which are imported. awaited: the name of one of them.

        user_namespace: whether its pods have one.
        """
        self._containerd = containerd
        self._namespaces: dict[str, Any] = {"network": _NODE}
        if user_namespace:
            offer_network(containerd.directory)
            self._namespaces = {"network": _POD, "userns_options": {"mode": _POD, **USER_NAMESPACE}}
        self._annotations: dict[str, dict[str, str]] = {}
        self.logs = containerd.directory / "logs"
        self.logs.mkdir()  # as a kubelet does
        for archive in images.iterdir():
            # The CRI unpacks the image into its own snapshotter.
            containerd.ctr("-n", "k8s.io", "images", "import", "--no-unpack", str(archive), check=True)
        until(lambda: self.run("images", "-q", awaited).stdout)

    def command(self, *words: str) -> list[str]:
        """The command line of `crictl` with these words."""
        endpoint = f"unix://{self._containerd.directory}/containerd.sock"
        return [str(provision.crictl()), "--config", "/dev/null", "-r", endpoint, "-i", endpoint, "-t", "60s", *words]

    def run(self, *words: str, check: bool = True, typed: str = "") -> subprocess.CompletedProcess[str]:
        """Run `crictl` with these words. typed: the content of its stdin."""
        done = subprocess.run(self.command(*words), input=typed, capture_output=True, text=True, timeout=120)
        assert not check or done.returncode == 0, f"crictl {' '.join(words)}: {done.stderr}"
        return done

    def run_pod(self, name: str, runtime: str = "wasm", **annotations: str) -> str:
        """Run a pod with the host's network, a runtime handler and pelagos' annotations; return its id."""
        said = {f"io.pelagos.wasm.{key.replace('__', '.')}": value for key, value in annotations.items()}
        self._annotations[name] = said
        return self.run(*self.words_of_pod(name, runtime)).stdout.strip()

    def words_of_pod(self, name: str, runtime: str) -> tuple[str, ...]:
        """The arguments with which `crictl` runs a pod."""
        return "runp", "--runtime", runtime, self._write("pod", self._pod(name))

    def start(self, pod: str, pod_name: str, name: str, *args: str, **fields: Any) -> str:
        """Create and start a container of the image of guests; its id.

        fields: of its config, such as `tty`.
        """
        container = {
            "metadata": {"name": name},
            "image": {"image": GUESTS_IMAGE},
            "command": list(args),
            "log_path": f"{name}.log",
            "linux": {"security_context": {"namespace_options": self._namespaces}},
            **fields,
        }
        words = (self._write("container", container), self._write("pod", self._pod(pod_name)))
        found = self.run("create", pod, *words).stdout.strip()
        self.run("start", found)
        return found

    def status(self, container: str) -> dict[str, Any]:
        """The status of a container, as a kubelet gets it."""
        return json.loads(self.run("inspect", container).stdout)["status"]

    def _pod(self, name: str) -> dict[str, Any]:
        return {
            "metadata": {"name": name, "namespace": "default", "uid": name, "attempt": 1},
            "log_directory": str(self.logs),
            "annotations": self._annotations.get(name, {}),
            "linux": {"security_context": {"namespace_options": self._namespaces}},
        }

    def _write(self, name: str, value: Any) -> str:
        path = self._containerd.directory / f"{name}.json"
        path.write_text(json.dumps(value))
        return str(path)
