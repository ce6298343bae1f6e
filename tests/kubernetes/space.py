"""A namespace of Kubernetes for one test, and the objects that it makes."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.kubernetes.cluster import Cluster
from tests.kubernetes.images import BUSYBOX_IMAGE
from tests.support.containerd import until
from tests.support.crictl import GUESTS_IMAGE

FOREVER = "1000000"
Object = dict[str, Any]


def guest(*words: str, name: str = "guest", **fields: Any) -> Object:
    """A container of a WebAssembly program of the guests' image."""
    return {"name": name, "image": GUESTS_IMAGE, "command": list(words), **fields}


def waiting_guest(name: str = "guest", **fields: Any) -> Object:
    """A guest that sleeps until a signal ends it."""
    return guest("/tool.wasm", "sleep", FOREVER, name=name, **fields)


def native(*words: str, name: str = "native", **fields: Any) -> Object:
    """A container of a native program."""
    return {"name": name, "image": BUSYBOX_IMAGE, "command": list(words), **fields}


def pod_spec(*containers: Object, **spec: Any) -> Object:
    """What is under `spec` of a pod with the runtime class of ours."""
    return {
        "runtimeClassName": "pelagos",
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 5,
        "automountServiceAccountToken": False,
        "containers": list(containers),
        **spec,
    }


def pod(name: str, *containers: Object, annotations: dict[str, str] | None = None, **spec: Any) -> Object:
    """A pod."""
    metadata = {"name": name, "annotations": annotations or {}, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec(*containers, **spec)}


def deployment(name: str, replicas: int, *containers: Object, **spec: Any) -> Object:
    """A deployment whose pods have the label app=NAME."""
    template = {"metadata": {"labels": {"app": name}}, "spec": pod_spec(*containers, **spec, restartPolicy="Always")}
    fields = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": fields}


def job(name: str, *containers: Object, annotations: dict[str, str] | None = None, **spec: Any) -> Object:
    """A job; spec: its fields but the template."""
    template = {"metadata": {"annotations": annotations or {}}, "spec": pod_spec(*containers)}
    fields = {"backoffLimit": 0, **spec, "template": template}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": fields}


class Space:
    """A namespace of the cluster's."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name

    def kubectl(
        self, *words: str, check: bool = True, typed: str | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run `kubectl` in this namespace."""
        return self.cluster.kubectl("-n", self.name, *words, check=check, typed=typed, timeout=timeout)

    def words_of_kubectl(self, *words: str) -> list[str]:
        return self.cluster.words_of_kubectl("-n", self.name, *words)

    def apply(self, *objects: Object) -> None:
        """Apply objects."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        self.kubectl("apply", "-f", "-", typed=text)

    def get(self, *words: str) -> Object:
        """An object."""
        return self.cluster.get("-n", self.name, *words)

    def wait(self, what: str, condition: str, seconds: int = 60) -> None:
        """Wait for a condition, such as `condition=Ready` or `jsonpath={.status.phase}=Failed`."""
        words = ("wait", what, f"--for={condition}", f"--timeout={seconds}s")
        done = self.kubectl(*words, check=False, timeout=seconds + 30)
        assert done.returncode == 0, f"{done.stderr}\n{self.describe(what)}"

    def run(self, *objects: Object) -> None:
        """Apply objects and wait until the pods among them have ended well."""
        self.apply(*objects)
        for each in objects:
            if each["kind"] == "Pod":
                self.wait(f"pod/{each['metadata']['name']}", "jsonpath={.status.phase}=Succeeded")

    def ready(self, *objects: Object) -> None:
        """Apply objects and wait until the pods among them are ready."""
        self.apply(*objects)
        for each in objects:
            if each["kind"] == "Pod":
                self.wait(f"pod/{each['metadata']['name']}", "condition=Ready")

    def logs(self, *words: str) -> str:
        """What a container has said."""
        return self.kubectl("logs", *words).stdout

    def output(self, name: str, *containers: Object, **spec: Any) -> str:
        """What the first container of a pod says, which runs to its end."""
        self.run(pod(name, *containers, **spec))
        return self.logs(name, "-c", containers[0]["name"])

    def status(self, name: str, container: str = "guest") -> Object:
        """The status of a pod's container, of whatever kind; one without a state before the kubelet knows it."""
        found = self.get("pod", name)["status"]
        kinds = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
        known = (each for kind in kinds for each in found.get(kind, []) if each["name"] == container)
        return next(known, {"state": {}, "restartCount": 0})

    def ended(self, name: str, container: str = "guest", seconds: float = 60) -> Object:
        """How a container has ended: `exitCode`, `reason` and more."""
        until(lambda: "terminated" in self.status(name, container)["state"], seconds, lambda: self.describe(name))
        return self.status(name, container)["state"]["terminated"]

    def describe(self, what: str) -> str:
        """What a person would look at."""
        kind = what if "/" in what else f"pod/{what}"
        return self.kubectl("describe", kind, check=False).stdout + self.kubectl("get", "events", check=False).stdout

    def names(self, label: str) -> list[str]:
        """The names of the pods with a label that are not being deleted."""
        pods = self.get("pods", "-l", label)["items"]
        return [each["metadata"]["name"] for each in pods if "deletionTimestamp" not in each["metadata"]]
