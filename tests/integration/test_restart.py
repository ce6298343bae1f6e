"""containerd goes away, by its own will or not, and comes back: containers never notice."""

import datetime
import os
import signal
import subprocess
import time

import pytest

from tests.support import provision
from tests.support.containerd import Containerd, until
from tests.support.ctr_events import CtrEvents
from tests.support.traces import alive, nothing_is_left, parent

pytestmark = [pytest.mark.root, pytest.mark.containerd, pytest.mark.guests]

WASM = "io.containerd.pelagos.wasm.v1"
LINES, LINE_BYTES = 50_000, 64  # far more than a FIFO holds

by_each_signal = pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL], ids=lambda signum: signum.name)


@pytest.fixture
def gate(rootfs, container):
    """A file of the image that guests wait for: its path for them; `touch` opens it."""
    path = rootfs / f"go-{container}"
    yield path
    path.unlink(missing_ok=True)


@by_each_signal
def test_running_containers_are_found_again_and_can_be_ended(containerd, rootfs, container, signum):
    names = [f"{container}-{number}" for number in range(3)]
    for name in names:
        done = containerd.run(WASM, rootfs, name, "/spin.wasm", flags=("-d", *_pod(container)))
        assert done.returncode == 0, done.stderr
    before = containerd.tasks()
    containerd.restart(signum)
    assert containerd.tasks() == before
    for name, word, code in zip(names, ("SIGTERM", "SIGKILL", "SIGINT"), (143, 137, 130), strict=True):
        containerd.ctr("task", "kill", "-s", word, name, check=True)
        until(lambda name=name: containerd.status(name) == "STOPPED")
        assert f"exit code {code}" in containerd.ctr("task", "rm", name).stderr
        containerd.ctr("container", "rm", name, check=True)
    nothing_is_left(containerd.directory, container)


@by_each_signal
def test_an_exit_while_containerd_was_away_has_its_code_and_its_time(containerd, rootfs, container, gate, signum):
    args = ("/tool.wasm", "after", f"/{gate.name}", "exit", "7")
    assert containerd.run(WASM, rootfs, container, *args, flags=("-d",)).returncode == 0
    pid = containerd.tasks()[container][0]
    containerd.stop(signum)
    before = time.time()
    gate.touch()
    until(lambda: not alive(pid))
    after = time.time()
    time.sleep(1.5)  # so that a time taken at the restart would be seen to be wrong
    containerd.start(containerd.release)
    assert containerd.tasks()[container] == (pid, "STOPPED")
    with CtrEvents(containerd) as events:
        assert "exit code 7" in containerd.ctr("task", "rm", container).stderr
        until(lambda: "delete" in events.topics(container))
        (deleted,) = [fields for topic, fields in events.of(container) if topic == "delete"]
    assert deleted["exit_status"] == 7
    assert before <= _seconds(deleted["exited_at"]) < after + 1
    containerd.ctr("container", "rm", container, check=True)
    nothing_is_left(containerd.directory, container)


@by_each_signal
def test_output_without_a_reader_is_kept_and_the_guest_gets_no_sigpipe(containerd, rootfs, container, gate, signum):
    args = ("/tool.wasm", "after", f"/{gate.name}", "out", str(LINES))
    assert containerd.run(WASM, rootfs, container, *args, flags=("-d",)).returncode == 0
    containerd.stop(signum)
    gate.touch()
    containerd.start(containerd.release)
    attached = containerd.ctr("task", "attach", container)
    assert attached.returncode == 0, attached.stderr
    assert attached.stdout == "".join(f"{number:0{LINE_BYTES - 1}d}\n" for number in range(LINES))
    containerd.remove(container)


def test_input_reaches_the_guest_after_a_restart(containerd, rootfs, container, gate):
    args = ("/tool.wasm", "after", f"/{gate.name}", "say")
    assert containerd.run(WASM, rootfs, container, *args, flags=("-d",)).returncode == 0
    containerd.restart(signal.SIGKILL)
    gate.touch()
    command = containerd.command("task", "attach", container)
    attached = subprocess.run(command, input=b"a key\n", capture_output=True, timeout=30)
    assert (attached.returncode, attached.stdout) == (0, b"ready\n"), attached.stderr
    containerd.remove(container)


def test_exits_while_containerd_is_stopped_are_reported_once_and_in_order(containerd, rootfs, container, gate):
    names = [f"{container}-{number}" for number in range(5)]
    for number, name in enumerate(names):
        args = ("/tool.wasm", "after", f"/{gate.name}", "exit", str(number))
        assert containerd.run(WASM, rootfs, name, *args, flags=("-d", *_pod(container))).returncode == 0
    pids = [pid for name, (pid, _) in containerd.tasks().items() if name in names]
    with CtrEvents(containerd) as events:
        os.kill(containerd.process.pid, signal.SIGSTOP)
        gate.touch()
        until(lambda: not any(alive(pid) for pid in pids))
        os.kill(containerd.process.pid, signal.SIGCONT)
        for number, name in enumerate(names):
            events.until(name, "exit")
            assert events.of(name)[0][1].get("exit_status", 0) == number
            containerd.remove(name)
            events.until(name, "exit", "delete")
    nothing_is_left(containerd.directory, container)


@pytest.mark.slow
def test_a_containerd_that_dies_during_a_run_leaves_nothing_that_cannot_be_removed(containerd, rootfs, container):
    for number in range(6):
        name = f"{container}-{number}"
        with containerd.popen(WASM, rootfs, name, "/spin.wasm", flags=("-d",)):
            time.sleep(number * 0.04)  # the moment is what differs
            containerd.restart(signal.SIGKILL)
        for task in containerd.tasks():
            assert containerd.tasks()[task][1] != "UNKNOWN"
            containerd.ctr("task", "rm", "-f", task, check=True)
        containerd.ctr("container", "rm", name)
    nothing_is_left(containerd.directory, container, 45)


def test_containers_survive_upgrades_of_containerd(bin_dir, rootfs, container):
    daemon = Containerd(bin_dir, release=provision.RELEASES[0])
    names = []
    try:
        for number, release in enumerate(filter(lambda each: provision.has_containerd((each,)), provision.RELEASES)):
            if number:
                daemon.restart(signal.SIGTERM, release)
            names.append(f"{container}-{number}")
            flags = ("-d", *_pod(container)) if number else ("-d",)
            assert daemon.run(WASM, rootfs, names[-1], "/spin.wasm", flags=flags).returncode == 0
            assert {name: status for name, (_, status) in daemon.tasks().items()} == dict.fromkeys(names, "RUNNING")
        pids = [pid for pid, _ in daemon.tasks().values()]
        assert len({parent(pid) for pid in pids}) == 2  # all except the first are one pod
        for name in names:
            daemon.ctr("task", "kill", "-s", "SIGTERM", name, check=True)
            until(lambda name=name: daemon.status(name) == "STOPPED")
            assert "exit code 143" in daemon.ctr("task", "rm", name).stderr
            daemon.ctr("container", "rm", name, check=True)
        nothing_is_left(daemon.directory, container)
    finally:
        daemon.close()


def _pod(name):
    return "--annotation", f"io.kubernetes.cri.sandbox-id={name}"


def _seconds(moment):
    """A time in `ctr events`: RFC 3339 from 1.6, a protobuf timestamp from later ones."""
    if isinstance(moment, dict):
        return moment["seconds"] + moment["nanos"] / 1e9
    whole, _, fraction = moment.rstrip("Z").partition(".")
    return datetime.datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")
