"""What a cluster asks of a pod, and what a pod asks of the node: restricted pods, user namespaces, engines."""

import contextlib
from pathlib import Path

import pytest

from scripts import engines
from tests.conftest import leave_out
from tests.kubernetes.space import guest, job, native, pod, waiting_guest
from tests.support import provision
from tests.support.containerd import until

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def test_a_pod_meets_the_restricted_standard(space):
    space.kubectl("label", "namespace", space.name, "pod-security.kubernetes.io/enforce=restricted")
    refused = space.kubectl("run", "one", "--image=localhost/guests:test", check=False)
    assert "violates PodSecurity" in refused.stderr
    assert space.output("one", guest("/hello.wasm", securityContext=RESTRICTED)) == "hello\n"
    assert space.output("two", native("/bin/id", "-u", securityContext=RESTRICTED)) == "1000\n"


def test_a_guest_with_a_read_only_root_writes_to_its_volume_alone(space):
    security = {"securityContext": {"readOnlyRootFilesystem": True}}
    mounts = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    volume = {"volumes": [{"name": "data", "emptyDir": {}}]}
    space.output("may", guest("/tool.wasm", "write", "/data/x", "x", **security, **mounts), **volume)
    space.apply(pod("may-not", guest("/tool.wasm", "write", "/x", "x", **security, **mounts), **volume))
    assert space.ended("may-not")["exitCode"] == 1


def test_run_as_non_root_refuses_an_image_of_root(space):
    space.apply(pod("one", guest("/hello.wasm", securityContext={"runAsNonRoot": True})))
    until(lambda: space.status("one")["state"].get("waiting", {}).get("reason") == "CreateContainerConfigError", 30)


def test_a_pod_has_users_of_its_own(space, cluster):
    if cluster.release != provision.BUILT:
        leave_out(f"needs containerd {provision.BUILT}: earlier ones refuse `hostUsers: false` but for runc")
    owner = {"volumes": [{"name": "data", "emptyDir": {}}], "hostUsers": False}
    mounts = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    space.ready(
        pod("one", waiting_guest(**mounts), native("/bin/sh", "-c", "cat /proc/self/uid_map; sleep 1000"), **owner)
    )
    space.kubectl("exec", "one", "-c", "guest", "--", "/tool.wasm", "write", "/data/x", "x")
    assert space.kubectl("exec", "one", "-c", "guest", "--", "/tool.wasm", "read", "/data/x").stdout == "x"
    inner, outer, length = space.logs("one", "-c", "native").split()
    assert (inner, length) == ("0", "65536")
    assert int(outer) >= 65536
    assert int(outer) in owners_of_processes()


def owners_of_processes():
    """The owners of the processes of this host, as the host sees them."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError):
            yield path.stat().st_uid


def test_an_engine_is_chosen_by_annotation_for_a_pod_or_one_of_its_containers(space, cluster):
    if not engines.present():
        leave_out("needs WasmEdge and Wasmer: `make engines` gets them")
    cluster.machine.write("/etc/pelagos/config.toml", engines.config())
    try:
        for name in ("wasmtime", "wasmedge", "wasmer"):
            space.apply(job(name, guest("/hello.wasm"), annotations={"io.pelagos.wasm.runtime": name}))
        for name in ("wasmtime", "wasmedge", "wasmer"):
            space.wait(f"job/{name}", "condition=Complete", 120)
            assert space.logs(f"job/{name}") == "hello\n"
        mixed = {"io.pelagos.wasm.runtime": "wasmtime", "io.pelagos.wasm.runtime.other": "wasmedge"}
        space.run(pod("mixed", guest("/hello.wasm"), guest("/hello.wasm", name="other"), annotations=mixed))
        assert space.logs("mixed", "--all-containers") == "hello\nhello\n"
    finally:
        cluster.machine.run("rm", "/etc/pelagos/config.toml")


def test_an_engine_that_is_not_there_is_named_in_the_events(space):
    space.apply(pod("one", guest("/hello.wasm"), annotations={"io.pelagos.wasm.runtime": "none-such"}))
    until(lambda: "none-such" in space.kubectl("get", "events").stdout, 60, lambda: space.describe("one"))


@pytest.mark.parametrize("policy", [{"io.pelagos.wasm.dirs": "none"}, {"io.pelagos.wasm.dirs.guest": "none"}])
def test_an_annotation_takes_away_from_a_guest(space, policy):
    space.apply(pod("one", guest("/tool.wasm", "ls", "/"), annotations=policy))
    assert space.ended("one")["exitCode"] == 1
