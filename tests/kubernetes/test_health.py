"""Probes, hooks, limits, and what becomes of a pod's status."""

import json
from pathlib import Path

from tests.kubernetes.space import guest, native, pod, waiting_guest
from tests.support.containerd import until

OFTEN = {"periodSeconds": 1, "failureThreshold": 1}


def test_a_readiness_probe_by_exec_follows_the_guest(space):
    probe = {"exec": {"command": ["/tool.wasm", "read", "/ready"]}, **OFTEN}
    space.apply(pod("one", waiting_guest(readinessProbe=probe)))
    space.wait("pod/one", "condition=Ready=False")
    until(lambda: "running" in space.status("one")["state"], 30)
    space.kubectl("exec", "one", "--", "/tool.wasm", "write", "/ready", "yes")
    space.wait("pod/one", "condition=Ready")


def test_a_liveness_probe_restarts_a_guest(space):
    probe = {"exec": {"command": ["/tool.wasm", "exit", "1"]}, **OFTEN}
    space.apply(pod("one", waiting_guest(livenessProbe=probe), restartPolicy="Always"))
    until(lambda: space.status("one")["restartCount"] >= 1, 60, lambda: space.describe("one"))
    assert space.status("one")["lastState"]["terminated"]["exitCode"] == 143
    assert "Liveness probe failed" in space.kubectl("get", "events").stdout


def test_a_startup_probe_holds_the_others_back(space):
    start = {"exec": {"command": ["/tool.wasm", "read", "/started"]}, "periodSeconds": 1, "failureThreshold": 60}
    alive = {"exec": {"command": ["/tool.wasm", "read", "/started"]}, **OFTEN}
    space.apply(pod("one", waiting_guest(startupProbe=start, livenessProbe=alive)))
    until(lambda: "running" in space.status("one")["state"], 30)
    assert space.status("one")["started"] is False
    space.kubectl("exec", "one", "--", "/tool.wasm", "write", "/started", "yes")
    space.wait("pod/one", "condition=Ready")
    assert space.status("one")["restartCount"] == 0


def test_probes_by_http_and_tcp_ask_a_program_of_the_pod(space):
    page = "mkdir /www; echo pages > /www/index.html; exec httpd -f -h /www -p 8000"
    probes = {
        "readinessProbe": {"httpGet": {"path": "/index.html", "port": 8000}, **OFTEN},
        "livenessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
    }
    space.ready(pod("web", native("/bin/sh", "-c", page, **probes), waiting_guest()))


def test_hooks_run_programs_of_the_image_when_a_guest_starts_and_before_it_ends(space, cluster):
    volume = {"volumes": [{"name": "host", "hostPath": {"path": f"/opt/{space.name}", "type": "DirectoryOrCreate"}}]}
    hooks = {
        when: {"exec": {"command": ["/tool.wasm", "write", f"/host/{when}", "x"]}} for when in ("postStart", "preStop")
    }
    mounts = [{"name": "host", "mountPath": "/host"}]
    space.ready(pod("one", waiting_guest(lifecycle=hooks, volumeMounts=mounts), **volume))
    assert cluster.machine.run("ls", f"/opt/{space.name}").stdout.split() == ["postStart"]
    space.kubectl("delete", "pod", "one")
    assert cluster.machine.run("ls", f"/opt/{space.name}").stdout.split() == ["postStart", "preStop"]


def test_a_hook_that_fails_is_reported_and_the_guest_is_ended(space):
    hook = {"postStart": {"exec": {"command": ["/tool.wasm", "exit", "5"]}}}
    space.apply(pod("one", waiting_guest(lifecycle=hook)))
    assert space.ended("one")["exitCode"] == 143
    assert "PostStartHook" in space.kubectl("get", "events").stdout


def test_a_guest_leaves_a_message_when_it_ends(space):
    space.apply(
        pod("said", guest("/tool.wasm", "write", "/dev/termination-log", "that was all")),
        pod("trap", guest("/trap.wasm", terminationMessagePolicy="FallbackToLogsOnError")),
    )
    assert space.ended("said")["message"] == "that was all"
    assert "wasm trap" in space.ended("trap")["message"]


def limited(**limits):
    return {"resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": limits}}


def test_a_guest_is_refused_memory_before_its_pod_is_out_of_memory(space):
    space.apply(pod("one", guest("/memory.wasm", "take", "200", **limited(memory="96Mi"))))
    assert space.ended("one")["exitCode"] == 9
    assert "PLG" in space.logs("one")


def test_what_uses_more_than_its_limit_is_killed_and_named_so(space):
    volume = {"volumes": [{"name": "files", "emptyDir": {"medium": "Memory"}}]}
    fill = guest(
        "/memory.wasm",
        "fill",
        "/files/big",
        "200",
        volumeMounts=[{"name": "files", "mountPath": "/files"}],
        **limited(memory="64Mi"),
    )
    space.apply(pod("one", fill, **volume))
    assert (space.ended("one")["exitCode"], space.ended("one")["reason"]) == (137, "OOMKilled")


def test_the_next_container_after_one_without_memory_runs(space):
    words = limited(memory="64Mi")
    volume = {"volumes": [{"name": "files", "emptyDir": {"medium": "Memory"}}]}
    fill = guest(
        "/memory.wasm", "fill", "/files/big", "200", volumeMounts=[{"name": "files", "mountPath": "/files"}], **words
    )
    space.ready(pod("one", waiting_guest("other")))
    space.apply(pod("two", fill, waiting_guest("other"), **volume))
    assert space.ended("two")["reason"] == "OOMKilled"
    assert "running" in space.status("two", "other")["state"]


def test_limits_are_changed_in_place(space, cluster):
    space.ready(pod("one", waiting_guest(**limited(cpu="100m", memory="64Mi"))))
    wanted = {"cpu": "200m", "memory": "128Mi"}
    change = {"spec": {"containers": [{"name": "guest", "resources": {"limits": wanted}}]}}
    space.kubectl("patch", "pod", "one", "--subresource=resize", "--patch", json.dumps(change))
    until(lambda: space.status("one")["resources"]["limits"] == wanted, 60, lambda: space.describe("one"))
    assert space.status("one")["restartCount"] == 0
    container = space.status("one")["containerID"].rpartition("/")[2]
    assert limit_of_memory(cluster, container) == 128 << 20


def limit_of_memory(cluster, container):
    """What a container's control group says, on either version."""
    names = ("memory.max", "memory.limit_in_bytes")
    groups = Path("/sys/fs/cgroup").rglob(f"{cluster.machine.cgroup}/**/*{container}*")
    (found,) = {int((group / name).read_text()) for group in groups for name in names if (group / name).exists()}
    return found


def test_time_is_up_for_a_job_and_for_a_guest(space):
    space.apply(
        pod("pod", waiting_guest(), activeDeadlineSeconds=2),
        pod("guest", waiting_guest(), annotations={"io.pelagos.wasm.deadline": "1s"}),
    )
    assert space.ended("guest")["exitCode"] == 124
    space.wait("pod/pod", "jsonpath={.status.reason}=DeadlineExceeded")
