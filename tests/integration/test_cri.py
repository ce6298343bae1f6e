"""What a kubelet does, by `crictl`: a pod with the wasm runtime, whose pause container is native."""

import json
import signal

import pytest

from tests.support.containerd import Containerd, until
from tests.support.crictl import CRI_CONFIG, Crictl
from tests.support.screen import at_terminal
from tests.support.traces import nothing_is_left, parent

pytestmark = [pytest.mark.root, pytest.mark.containerd, pytest.mark.guests, pytest.mark.crictl]


@pytest.fixture(scope="module")
def daemon(release, bin_dir):
    found = Containerd(bin_dir, release=release, cri=CRI_CONFIG)
    yield found
    found.close()


@pytest.fixture(scope="module")
def crictl(daemon, images):
    return Crictl(daemon, images)


def exited(crictl, container):
    until(lambda: crictl.status(container)["state"] == "CONTAINER_EXITED", 20)
    return crictl.status(container)


def test_containers_of_a_pod_end_with_their_codes_and_have_their_logs(crictl, pod, container):
    hello = crictl.start(pod, container, "hello", "/hello.wasm")
    trap = crictl.start(pod, container, "trap", "/trap.wasm")
    status = exited(crictl, hello)
    assert (status["exitCode"], status["reason"]) == (0, "Completed")
    # containerd takes the time of the start after the shim's answer: a short guest may have ended by then.
    assert min(status["finishedAt"], status["startedAt"]) > status["createdAt"]
    assert (exited(crictl, trap)["exitCode"], status["metadata"]["name"]) == (134, "hello")
    assert crictl.run("logs", hello).stdout == "hello\n"
    assert "wasm trap" in crictl.run("logs", trap).stderr


def test_an_annotation_of_a_pod_is_for_the_container_that_it_names(crictl, container):
    pod = crictl.run_pod(container, env="A,B", env__one="A", runtime__one="wasmtime", **{"deadline.none-such": "1s"})
    variables = {"envs": [{"key": key, "value": "x"} for key in "ABC"]}
    try:
        found = {name: crictl.start(pod, container, name, "/tool.wasm", "env", **variables) for name in ("one", "two")}
        assert [exited(crictl, of)["exitCode"] for of in found.values()] == [0, 0]
        assert {name: set(crictl.run("logs", of).stdout.split()) for name, of in found.items()} == {
            "one": {"A=x"},
            "two": {"A=x", "B=x"},
        }
    finally:
        crictl.run("rmp", "-f", pod)


def test_a_probe_runs_in_a_running_container(crictl, pod, container):
    spin = crictl.start(pod, container, "spin", "/spin.wasm")
    # `-s` prints both streams with a line's end after each.
    assert crictl.run("exec", "-s", spin, "/tool.wasm", "args", "x").stdout.rstrip() == "/tool.wasm\nargs\nx"
    assert crictl.run("exec", spin, "/tool.wasm", "args", "y").stdout == "/tool.wasm\nargs\ny\n"
    assert crictl.run("exec", spin, "/functions.wasm#add", "-1", "3").stdout == "2\n"
    failed = crictl.run("exec", "-s", spin, "/tool.wasm", "exit", "3", check=False)
    assert "3" in failed.stderr
    assert failed.returncode != 0


def test_what_is_typed_reaches_an_exec_at_a_terminal_or_not(crictl, pod, container):
    spin = crictl.start(pod, container, "spin", "/spin.wasm")
    assert crictl.run("exec", "-i", spin, "/tool.wasm", "cat", typed="a line\n").stdout == "a line\n"
    words = crictl.command("exec", "-it", spin, "/tool.wasm", "say")
    assert at_terminal(words, {b"ready\r\n": b"x\n"}) == (0, "ready\r\nx\r\n")
    code, screen = at_terminal(words, {b"ready\r\n": b"\x03"})
    assert (code, "ready\r\n^C" in screen, "exit code 130" in screen) == (1, True, True)


def test_an_attached_client_exchanges_input_and_output(crictl, pod, container):
    cat = crictl.start(pod, container, "cat", "/tool.wasm", "cat", stdin=True, stdin_once=True)
    assert crictl.run("attach", "-i", cat, typed="a line\n").stdout == "a line\n"
    assert exited(crictl, cat)["exitCode"] == 0
    assert crictl.run("logs", cat).stdout == "a line\n"


def test_a_client_may_attach_to_a_terminal_again(crictl, pod, container):
    cat = crictl.start(pod, container, "cat", "/tool.wasm", "cat", stdin=True, tty=True)
    assert at_terminal(crictl.command("attach", "-it", cat), {b"": b"\x10\x11"})[0] == 0  # ^P ^Q detaches
    assert crictl.status(cat)["state"] == "CONTAINER_RUNNING"
    code, screen = at_terminal(crictl.command("attach", "-it", cat), {b"": b"a line\n\x04"})
    assert (code, screen.endswith("a line\r\n")) == (0, True)
    assert exited(crictl, cat)["exitCode"] == 0


def test_a_running_container_has_stats_and_is_stopped_at_once(crictl, pod, container):
    spin = crictl.start(pod, container, "spin", "/spin.wasm")
    crictl.start(pod, container, "hello", "/hello.wasm")
    (stats,) = [s for s in json.loads(crictl.run("stats", "-a", "-o", "json").stdout)["stats"] if spin in str(s)]
    assert int(stats["memory"]["workingSetBytes"]["value"]) > 0
    assert int(stats["cpu"]["usageCoreNanoSeconds"]["value"]) > 0
    crictl.run("stop", "--timeout", "30", spin)
    assert exited(crictl, spin)["exitCode"] == 143


def test_a_pod_is_one_shim_and_survives_a_restart_of_containerd(crictl, daemon, pod, container):
    spin = crictl.start(pod, container, "spin", "/spin.wasm")
    pids = [
        json.loads(crictl.run(what, of).stdout)["info"]["pid"] for what, of in (("inspect", spin), ("inspectp", pod))
    ]
    assert len({parent(pid) for pid in pids}) == 1
    daemon.restart(signal.SIGKILL)
    until(lambda: crictl.run("ps", "-q", check=False).stdout.strip() == spin)
    assert crictl.status(spin)["state"] == "CONTAINER_RUNNING"
    assert crictl.run("exec", "-s", spin, "/hello.wasm").stdout.rstrip() == "hello"


def test_a_removed_pod_leaves_nothing(crictl, daemon, container):
    pod = crictl.run_pod(container)
    spin = crictl.start(pod, container, "spin", "/spin.wasm")
    crictl.run("rmp", "-f", pod)
    for name in (pod, spin):
        nothing_is_left(daemon.directory, name)
