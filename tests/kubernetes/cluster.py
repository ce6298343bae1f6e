"""A cluster of one node: etcd, the control plane, containerd and a kubelet, as real programs on one machine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.kubernetes.certificates import Authority
from tests.kubernetes.machine import Machine, Service
from tests.kubernetes.machine_init import HOST_NAME, NODE_ADDRESS
from tests.support import provision
from tests.support.containerd import until
from tests.support.crictl import PAUSE_IMAGE

_PKI = "/etc/kubernetes/pki"
_ADMIN = "/etc/kubernetes/admin.conf"
_SERVER = f"https://{NODE_ADDRESS}:6443"
_SERVICES, _FIRST_SERVICE = "10.96.0.0/16", "10.96.0.1"
_PODS = "10.244.0.0/16"
_SOCKET = "/run/containerd/containerd.sock"

# User: group, or empty. The groups are those that Kubernetes' own roles name.
_USERS = {
    "admin": ("kubernetes-admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "proxy": ("system:kube-proxy", ""),
    "kubelet": (f"system:node:{HOST_NAME}", "system:nodes"),
}

# If a process of this host may not lower an oom score, containerd needs a setting for that.
_CONTAINERD = f"""\
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"""
RUNTIME_CLASS = {
    "apiVersion": "node.k8s.io/v1",
    "kind": "RuntimeClass",
    "metadata": {"name": "pelagos"},
    "handler": "pelagos",
}
_NETWORK = {
    "cniVersion": "1.0.0",
    "name": "pods",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "dataDir": "/run/cni",  # after a loss of power no address is in use
                "ranges": [[{"subnet": _PODS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}, "backend": "nftables"},
    ],
}
_KUBELET = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "authentication": {"x509": {"clientCAFile": f"{_PKI}/ca.crt"}, "webhook": {"enabled": True}},
    "authorization": {"mode": "Webhook"},
    "cgroupDriver": "cgroupfs",
    "containerRuntimeEndpoint": f"unix://{_SOCKET}",
    "failCgroupV1": False,
    "failSwapOn": False,
    "featureGates": {"KubeletInUserNamespace": True},  # it may not lower its own oom score either
    "clusterDNS": ["10.96.0.10"],  # where no server is: the tests look up no names
    "clusterDomain": "cluster.local",
    "resolvConf": "",
    "maxPods": 250,
    "serializeImagePulls": False,
    "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
    "imageGCHighThresholdPercent": 100,
    "nodeStatusUpdateFrequency": "2s",
    # Short, so that a test sees a rotation and a change of a ConfigMap.
    "containerLogMaxSize": "100Ki",
    "containerLogMaxFiles": 3,
    "containerLogMonitorInterval": "3s",
    "syncFrequency": "5s",
    "configMapAndSecretChangeDetectionStrategy": "Watch",
}
_METRICS_PORT = 4443
_METRICS_SERVICE = {"name": "metrics-server", "namespace": "kube-system"}
# A Service whose only endpoint is the node itself, where metrics-server is a process, and the API behind it.
_METRICS: tuple[dict[str, Any], ...] = (
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _METRICS_SERVICE,
        "spec": {"ports": [{"name": "https", "port": 443, "targetPort": _METRICS_PORT}]},
    },
    {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**_METRICS_SERVICE, "labels": {"kubernetes.io/service-name": "metrics-server"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [NODE_ADDRESS], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": _METRICS_PORT}],
    },
    {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1beta1.metrics.k8s.io"},
        "spec": {
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "service": _METRICS_SERVICE,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
        },
    },
)


class Cluster:
    """Kubernetes on one machine. `up`, then `kubectl`; `down` leaves nothing."""

    def __init__(self, directory: Path, release: str = provision.BUILT) -> None:
        """directory: of the machine's disk. release: of containerd, one of provision.RELEASES."""
        self.release = release
        self.programs = provision.kubernetes() / "bin"
        self.machine = Machine(directory, self._path())
        self.machine.environment["KUBECONFIG"] = _ADMIN
        self.services: dict[str, Service] = {}

    def up(self) -> None:
        """Boot the machine, make a node of it as an administrator does, and start all services."""
        self.machine.boot()
        self._make_keys()
        self._make_node()
        self.start()

    def start(self) -> None:
        """Start every service and wait until the node is ready."""
        self._serve("etcd", "--data-dir=/var/lib/etcd", "--unsafe-no-fsync", "--log-level=warn")
        self._serve("kube-apiserver", *self._words_of_apiserver())
        self._wait_for(lambda: self._kubectl("get", "--raw", "/readyz").returncode == 0, "kube-apiserver", 120)
        for name in ("controller-manager", "scheduler"):
            self._serve(f"kube-{name}", *self._words_of_controller(name))
        self.start_containerd()
        self.start_kubelet()
        self._serve(
            "kube-proxy",
            f"--kubeconfig=/etc/kubernetes/proxy.conf --hostname-override={HOST_NAME} --proxy-mode=nftables",
            f"--cluster-cidr={_PODS} --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
        )
        self._wait_for(lambda: "True" in self._readiness(), "kubelet", 120)
        self._start_metrics()

    def start_containerd(self, release: str = "") -> None:
        """Start a release's containerd on what the one before has left."""
        self.release = release or self.release
        self.machine.environment["PATH"] = Machine(self.machine.directory, self._path()).environment["PATH"]
        self.services["containerd"] = self.machine.start("containerd", "containerd")
        self._wait_for(lambda: self.machine.run("ctr", "version", check=False).returncode == 0, "containerd", 60)

    def start_kubelet(self) -> None:
        """Start the kubelet; its pods go on as they are."""
        self._serve(
            "kubelet",
            f"--config=/etc/kubernetes/kubelet.json --kubeconfig=/etc/kubernetes/kubelet.conf --node-ip={NODE_ADDRESS}",
            f"--hostname-override={HOST_NAME} --cgroup-root=/{self.machine.cgroup}",
            f"--containerd={_SOCKET}",  # else its cAdvisor does not find the containers, and there is no `kubectl top`
        )

    def kubectl(
        self, *words: str, check: bool = True, typed: str | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run `kubectl` with these words."""
        done = self._kubectl(*words, typed=typed, timeout=timeout)
        assert not check or done.returncode == 0, f"kubectl {' '.join(words)}: {done.stdout}{done.stderr}"
        return done

    def words_of_kubectl(self, *words: str) -> list[str]:
        """The command line that runs `kubectl` with these words."""
        return self.machine.command("kubectl", *words, net_only=True)

    def get(self, *words: str) -> dict[str, Any]:
        """An object, as `kubectl get -o json` shows it."""
        return json.loads(self.kubectl("get", "-o", "json", *words).stdout)

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply objects."""
        self.kubectl("apply", "-f", "-", typed=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def give_runtime_class(self) -> None:
        """Apply the RuntimeClass `pelagos`, as a cluster's administrator does."""
        self.apply(RUNTIME_CLASS)

    def import_image(self, archive: Path) -> None:
        """Give the node an image, as an archive."""
        data = self.machine.disk / "var/lib" / archive.name
        data.write_bytes(archive.read_bytes())
        self.machine.run("ctr", "-n", "k8s.io", "images", "import", "--no-unpack", f"/var/lib/{archive.name}")
        data.unlink()

    def power_off(self) -> None:
        """End everything at once; the disk stays."""
        self.machine.shutdown()
        self.services.clear()

    def power_on(self) -> None:
        """Boot again, with what is on the disk."""
        self.machine.boot()
        self.start()

    def down(self) -> None:
        """End everything and remove it."""
        self.machine.destroy()

    def diagnosis(self) -> str:
        """What services have said last."""
        return "\n".join(f"== {name}\n{service.tail()}" for name, service in self.services.items())

    def _start_metrics(self) -> None:
        """Start metrics-server on the node, as the API that `kubectl top` and autoscalers ask."""
        users = f"--kubeconfig={_ADMIN} --authentication-kubeconfig={_ADMIN} --authorization-kubeconfig={_ADMIN}"
        how = "--kubelet-insecure-tls --kubelet-preferred-address-types=InternalIP --kubelet-request-timeout=5s"
        where = f"--secure-port={_METRICS_PORT} --cert-dir=/run/metrics-server"
        self._serve("metrics-server", users, how, where, "--metric-resolution=10s")
        self.apply(*_METRICS)

    def _path(self) -> list[Path]:
        containerd = provision.containerd_directory(self.release) / "usr"
        # The one that is built has no shim of runc's with it.
        other = provision.containerd_directory("sid") / "usr/bin"
        return [containerd / "bin", containerd / "sbin", other, self.programs]

    def _kubectl(self, *words: str, typed: str | None = None, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        command = self.words_of_kubectl(*words)
        return subprocess.run(command, input=typed, capture_output=True, text=True, timeout=timeout)

    def _serve(self, name: str, *words: str) -> None:
        self.services[name] = self.machine.start(name, name, *" ".join(words).split())

    def _wait_for(self, condition: Callable[[], object], name: str, seconds: float) -> None:
        service = self.services[name]
        until(lambda: service.ended() or condition(), seconds, lambda: service.tail())
        assert not service.ended(), f"{name} has ended:\n{service.tail()}"

    def _readiness(self) -> str:
        words = ("get", "node", HOST_NAME, "-o", 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')
        return self._kubectl(*words).stdout

    def _make_keys(self) -> None:
        place = self.machine.disk / "above" / _PKI.lstrip("/")
        authority = Authority(place)
        for name, (user, group) in _USERS.items():
            authority.issue(name, user, group)
            self.machine.write(f"/etc/kubernetes/{name}.conf", json.dumps(_kubeconfig(name)), 0o600)
        authority.issue("front-proxy", "front-proxy")
        names = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
        addresses = ("127.0.0.1", NODE_ADDRESS, _FIRST_SERVICE)
        authority.issue(
            "apiserver",
            "kube-apiserver",
            addresses=(*(f"DNS:{name}" for name in names), *(f"IP:{each}" for each in addresses)),
        )
        authority.key("service-accounts")

    def _make_node(self) -> None:
        machine = self.machine
        machine.write("/etc/containerd/config.toml", _CONTAINERD)
        machine.write("/etc/cni/net.d/10-pods.conflist", json.dumps(_NETWORK))
        machine.write("/etc/kubernetes/kubelet.json", json.dumps({**_KUBELET}))
        for name in ("bridge", "host-local", "loopback", "portmap"):
            machine.write(f"/opt/cni/bin/{name}", (self.programs / name).read_bytes(), 0o755)
        machine.run(sys.executable, "-m", "pelagos_core", "install")  # which registers the runtime, too

    def _words_of_apiserver(self) -> list[str]:
        return [
            f"--etcd-servers=http://127.0.0.1:2379 --service-cluster-ip-range={_SERVICES}",
            f"--advertise-address={NODE_ADDRESS} --authorization-mode=Node,RBAC --allow-privileged",
            f"--tls-cert-file={_PKI}/apiserver.crt --tls-private-key-file={_PKI}/apiserver.key",
            f"--client-ca-file={_PKI}/ca.crt --service-account-key-file={_PKI}/service-accounts.key",
            f"--service-account-signing-key-file={_PKI}/service-accounts.key",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--kubelet-client-certificate={_PKI}/admin.crt --kubelet-client-key={_PKI}/admin.key",
            "--kubelet-preferred-address-types=InternalIP --enable-aggregator-routing",
            f"--requestheader-client-ca-file={_PKI}/ca.crt --requestheader-allowed-names=front-proxy",
            "--requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={_PKI}/front-proxy.crt --proxy-client-key-file={_PKI}/front-proxy.key",
        ]

    def _words_of_controller(self, name: str) -> list[str]:
        config = f"/etc/kubernetes/{name}.conf"
        common = f"--kubeconfig={config} --authentication-kubeconfig={config} --authorization-kubeconfig={config}"
        words = [common, "--leader-elect=false"]
        if name == "controller-manager":
            words += [
                f"--root-ca-file={_PKI}/ca.crt --service-account-private-key-file={_PKI}/service-accounts.key",
                f"--cluster-signing-cert-file={_PKI}/ca.crt --cluster-signing-key-file={_PKI}/ca.key",
                "--use-service-account-credentials --horizontal-pod-autoscaler-sync-period=3s",
                "--horizontal-pod-autoscaler-cpu-initialization-period=5s",
                "--horizontal-pod-autoscaler-initial-readiness-delay=1s --node-monitor-grace-period=12s",
            ]
        return words


def _kubeconfig(name: str) -> dict[str, Any]:
    user = {"client-certificate": f"{_PKI}/{name}.crt", "client-key": f"{_PKI}/{name}.key"}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "cluster", "cluster": {"server": _SERVER, "certificate-authority": f"{_PKI}/ca.crt"}}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "context", "context": {"cluster": "cluster", "user": name}}],
        "current-context": "context",
    }
