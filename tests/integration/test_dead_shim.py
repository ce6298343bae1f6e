"""A shim that is killed, or stopped: containerd and our `delete` leave nothing of it."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from pelagos_core.linux.process_stat import is_exiting
from tests.support.containerd import until
from tests.support.ctr_events import CtrEvents
from tests.support.traces import alive, cgroups, nothing_is_left, parent

pytestmark = [pytest.mark.root, pytest.mark.containerd, pytest.mark.guests]

WASM = "io.containerd.pelagos.wasm.v1"


def run_pod(containerd, rootfs, container, count):
    """Containers of one pod that run until they are killed: names -> pids, and their shim."""
    names = [f"{container}-{number}" for number in range(count)]
    for name in names:
        flags = ("-d", "--annotation", f"io.kubernetes.cri.sandbox-id={container}")
        done = containerd.run(WASM, rootfs, name, "/spin.wasm", flags=flags)
        assert done.returncode == 0, done.stderr
    pids = {name: pid for name, (pid, _) in containerd.tasks().items() if name in names}
    (shim,) = {parent(pid) for pid in pids.values()}
    return pids, shim


def frozen(name):
    """Whether the group of a container is there, and stopped, with each of its processes."""
    states = [f"{path}/{file}" for path in cgroups(name) for file in ("freezer.state", "cgroup.freeze")]
    return [Path(state).read_text().strip() for state in states if os.path.exists(state)] in (["FROZEN"], ["1"])


@pytest.mark.parametrize("count", [1, 20])
def test_every_container_of_a_killed_shim_ends_once_with_137_and_leaves_nothing(containerd, rootfs, container, count):
    pids, shim = run_pod(containerd, rootfs, container, count)
    with CtrEvents(containerd) as events:
        os.kill(shim, signal.SIGKILL)
        for name, pid in pids.items():
            events.until(name, "exit", "delete")
            (_, exited), (_, deleted) = events.of(name)
            assert (exited["exit_status"], exited.get("pid")) == (137, pid)
            assert (deleted["exit_status"], deleted.get("pid")) == (137, pid)
    assert not any(alive(pid) for pid in pids.values())
    assert not set(pids) & set(containerd.tasks())
    nothing_is_left(containerd.directory, container)
    for name in pids:
        containerd.ctr("container", "rm", name, check=True)


def test_a_paused_container_of_a_killed_shim_ends_like_the_others(containerd, rootfs, container):
    pids, shim = run_pod(containerd, rootfs, container, 2)
    paused = next(iter(pids))
    containerd.ctr("task", "exec", "-d", "--exec-id", "e1", paused, "/spin.wasm", check=True)
    containerd.ctr("task", "pause", paused, check=True)
    assert frozen(paused)
    with CtrEvents(containerd) as events:
        os.kill(shim, signal.SIGKILL)
        for name, pid in pids.items():
            events.until(name, "exit", "delete")
            assert [(told["exit_status"], told.get("pid")) for _, told in events.of(name)] == [(137, pid)] * 2
    # The first process of a pid namespace is not gone until the machine's init has reaped the exec.
    assert all(is_exiting(pid) for pid in pids.values())
    nothing_is_left(containerd.directory, container)
    for name in pids:
        containerd.ctr("container", "rm", name, check=True)


def test_a_pod_runs_again_after_its_shim_was_killed(containerd, rootfs, container):
    pids, shim = run_pod(containerd, rootfs, container, 2)
    os.kill(shim, signal.SIGKILL)
    nothing_is_left(containerd.directory, container)
    for name in pids:
        # A task that containerd is cleaning up is listed no more, but its name is not free yet.
        until(lambda name=name: "not found" in containerd.ctr("task", "rm", name).stderr)
        containerd.ctr("container", "rm", name, check=True)
    again, new_shim = run_pod(containerd, rootfs, container, 2)
    assert new_shim != shim
    assert not set(again.values()) & set(pids.values())
    containerd.remove(*again)
    nothing_is_left(containerd.directory, container)


def test_a_guest_that_is_killed_by_hand_is_reported_and_can_be_deleted(containerd, rootfs, container):
    pids, _ = run_pod(containerd, rootfs, container, 2)
    first, second = pids
    with CtrEvents(containerd) as events:
        os.kill(pids[first], signal.SIGKILL)
        events.until(first, "exit")
        assert events.of(first)[0][1]["exit_status"] == 137
    assert containerd.status(second) == "RUNNING"
    assert "exit code 137" in containerd.ctr("task", "rm", first).stderr
    containerd.ctr("container", "rm", first, check=True)
    containerd.remove(second)
    nothing_is_left(containerd.directory, container)


def test_a_shim_that_is_stopped_for_a_while_answers_again(containerd, rootfs, container):
    pids, shim = run_pod(containerd, rootfs, container, 1)
    ((name, pid),) = pids.items()
    os.kill(shim, signal.SIGSTOP)
    try:
        killing = subprocess.Popen(containerd.command("task", "kill", name))
        with pytest.raises(subprocess.TimeoutExpired):
            killing.wait(0.5)
        assert alive(pid)
    finally:
        os.kill(shim, signal.SIGCONT)
    assert killing.wait(30) == 0
    until(lambda: containerd.status(name) == "STOPPED")
    assert "exit code 143" in containerd.ctr("task", "rm", name).stderr
    containerd.ctr("container", "rm", name, check=True)
    nothing_is_left(containerd.directory, container)


@pytest.mark.slow
def test_containerd_restarted_while_a_shim_is_stopped_cleans_up_after_it(containerd, rootfs, container):
    pids, shim = run_pod(containerd, rootfs, container, 2)
    os.kill(shim, signal.SIGSTOP)
    try:
        containerd.restart(signal.SIGKILL)  # which waits 5 s for each container's answer
        until(lambda: not set(pids) & set(containerd.tasks()), 30)
        assert not any(alive(pid) for pid in pids.values())
    finally:
        os.kill(shim, signal.SIGCONT)
    for name in pids:
        containerd.ctr("container", "rm", name, check=True)
    nothing_is_left(containerd.directory, container, 45)
