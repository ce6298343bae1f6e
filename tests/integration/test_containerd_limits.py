"""Limits, pauses and counts of a container, by `ctr`, on a real containerd of each release."""

import json
import os

import pytest

from tests.support.containerd import until
from tests.support.ctr_events import CtrEvents

pytestmark = [pytest.mark.root, pytest.mark.containerd, pytest.mark.guests]

RUNTIME = "io.containerd.pelagos.wasm.v1"
MIB = 1 << 20


def metrics(containerd, container):
    """What containerd itself has decoded of the shim's answer."""
    return json.loads(containerd.ctr("task", "metrics", "--format", "json", container, check=True).stdout)


def memory(counts):
    """(usage, limit) of either version of control groups."""
    counts = counts["memory"]
    if isinstance(counts["usage"], dict):
        return counts["usage"]["usage"], counts["usage"]["limit"]
    return counts["usage"], counts["usage_limit"]


def test_a_task_is_paused_and_resumed(containerd, rootfs, container):
    with CtrEvents(containerd) as events:
        containerd.run(RUNTIME, rootfs, container, "/spin.wasm", flags=("-d",))
        containerd.ctr("task", "pause", container, check=True)
        assert containerd.status(container) == "PAUSED"
        assert containerd.ctr("task", "pause", container).returncode == 1
        containerd.ctr("task", "resume", container, check=True)
        assert containerd.status(container) == "RUNNING"
        containerd.ctr("task", "pause", container, check=True)
        containerd.ctr("task", "kill", "-s", "SIGKILL", container, check=True)
        until(lambda: containerd.status(container) == "STOPPED")
        containerd.remove(container)
        events.until(container, "create", "start", "paused", "resumed", "paused", "exit", "delete")


def test_its_counts_are_decoded_and_its_processes_listed(containerd, rootfs, container):
    containerd.run(RUNTIME, rootfs, container, "/spin.wasm", flags=("-d", "--memory-limit", str(256 * MIB)))
    counts = metrics(containerd, container)
    usage, limit = memory(counts)
    assert limit == 256 * MIB
    assert MIB // 16 < usage < limit
    assert counts["pids"]["current"] >= 1
    lines = containerd.ctr("task", "ps", container, check=True).stdout.splitlines()[1:]
    assert str(containerd.tasks()[container][0]) in {line.split()[0] for line in lines}
    containerd.remove(container)


def test_out_of_memory_is_reported_and_the_exit_code_is_137(containerd, rootfs, container):
    scratch = "type=tmpfs,src=tmpfs,dst=/scratch,options=size=1g"
    with CtrEvents(containerd) as events:
        flags = ("--rm", "--memory-limit", str(64 * MIB), "--mount", scratch)
        done = containerd.run(RUNTIME, rootfs, container, "/memory.wasm", "fill", "/scratch/x", "500", flags=flags)
        assert done.returncode == 137, done.stderr
        events.until(container, "create", "start", "oom", "exit", "delete")


def test_a_refusal_of_memory_is_reported_in_the_containers_log_and_in_containerds(containerd, rootfs, container):
    flags = ("--rm", "--memory-limit", str(64 * MIB))
    done = containerd.run(RUNTIME, rootfs, container, "/memory.wasm", "take", "500", flags=flags)
    text = "of memory; the container's limit is 64 MiB"
    assert (done.returncode, done.stderr.count(text)) == (9, 1)
    until(lambda: [line for line in containerd.log().splitlines() if text in line and container in line])


def test_containerds_own_seccomp_profile_is_enforced(containerd, rootfs, container):
    containerd.run(RUNTIME, rootfs, container, "/spin.wasm", flags=("-d", "--seccomp"))
    with open(f"/proc/{containerd.tasks()[container][0]}/status") as file:
        status = dict(line.split(":", 1) for line in file)
    assert (int(status["Seccomp"]), int(status["Seccomp_filters"])) == (2, 2)  # an engine's own, and containerd's
    containerd.remove(container)
    for module in ("/greet.wasm", "/component.wasm"):
        done = containerd.run(RUNTIME, rootfs, container, module, flags=("--rm", "--seccomp"))
        assert done.stdout.startswith("hello from"), done.stderr


def test_its_group_goes_with_it(containerd, rootfs, container):
    flags = ("-d", "--cgroup", f"/pelagos-ctr/{container}")
    containerd.run(RUNTIME, rootfs, container, "/spin.wasm", flags=flags)
    groups = [path for path, _, _ in os.walk("/sys/fs/cgroup") if path.endswith(f"/pelagos-ctr/{container}")]
    assert groups
    containerd.remove(container)
    assert not [path for path in groups if os.path.exists(path)]
    for path in {os.path.dirname(path) for path in groups}:
        if not [name for name in os.listdir(path) if os.path.isdir(os.path.join(path, name))]:
            os.rmdir(path)
