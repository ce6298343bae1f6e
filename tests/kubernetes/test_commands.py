"""What people type: logs, exec, attach, cp, port-forward, debug, run, top."""

import re
import subprocess
import time

from tests.kubernetes.images import BUSYBOX_IMAGE
from tests.kubernetes.space import deployment, guest, native, pod, waiting_guest
from tests.support.containerd import until
from tests.support.crictl import GUESTS_IMAGE
from tests.support.screen import at_terminal


def test_a_log_has_both_streams_with_times_and_the_end_of_it(space):
    space.apply(pod("said", guest("/tool.wasm", "out", "100")), pod("err", guest("/tool.wasm", "err")))
    for name in ("said", "err"):
        assert space.ended(name)["exitCode"] == 0
    assert space.logs("said").splitlines() == [f"{number:063d}" for number in range(100)]
    assert space.logs("said", "--tail=1").strip() == f"{99:063d}"
    assert re.match(r"\d{4}-\d\d-\d\dT\S+Z 0{63}\n", space.logs("said", "--timestamps"))
    assert space.logs("err") == "to stderr\n"


def test_a_log_is_followed_to_its_end(space):
    space.ready(pod("slow", guest("/tool.wasm", "after", "/go", "out", "10"), waiting_guest("other")))
    follower = subprocess.Popen(
        space.words_of_kubectl("logs", "-f", "slow", "-c", "guest"), stdout=subprocess.PIPE, text=True
    )
    space.kubectl("exec", "slow", "-c", "guest", "--", "/tool.wasm", "write", "/go", "")
    said, _ = follower.communicate(timeout=30)
    assert len(said.splitlines()) == 10


def test_the_log_of_the_container_before_is_there_after_a_restart(space):
    space.apply(pod("again", guest("/exit7.wasm"), restartPolicy="OnFailure"))
    until(lambda: space.status("again")["restartCount"] >= 1, 60)
    space.kubectl("logs", "--previous", "again")
    assert space.status("again")["lastState"]["terminated"]["exitCode"] == 7


def test_a_log_that_grows_is_rotated_and_the_guest_does_not_notice(space, cluster):
    space.ready(pod("loud", guest("/tool.wasm", "cat", stdin=True, stdinOnce=True)))
    uid = space.get("pod", "loud")["metadata"]["uid"]
    attached = subprocess.Popen(
        space.words_of_kubectl("attach", "-i", "loud"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    # Three times what the kubelet of this cluster lets a log grow to.
    attached.stdin.write(b"".join(b"%063d\n" % number for number in range(4800)))
    attached.stdin.flush()
    place = f"/var/log/pods/{space.name}_loud_{uid}/guest"
    until(lambda: len(cluster.machine.run("ls", place).stdout.split()) > 1, 60)
    attached.stdin.write(b"the end\n")
    attached.stdin.close()
    assert attached.wait(30) == 0
    assert space.ended("loud")["exitCode"] == 0
    assert space.logs("loud", "--tail=1") == "the end\n"


def test_exec_runs_another_program_of_the_image_with_streams_and_code(space):
    space.ready(pod("one", waiting_guest()))
    assert space.kubectl("exec", "one", "--", "/tool.wasm", "args", "a", "b c").stdout == "/tool.wasm\nargs\na\nb c\n"
    assert space.kubectl("exec", "-i", "one", "--", "/tool.wasm", "cat", typed="a line\n").stdout == "a line\n"
    failed = space.kubectl("exec", "one", "--", "/tool.wasm", "exit", "3", check=False)
    assert (failed.returncode, failed.stderr) == (3, "command terminated with exit code 3\n")
    missing = space.kubectl("exec", "one", "--", "/none-such.wasm", check=False)
    assert (missing.returncode != 0, "none-such.wasm" in missing.stderr) == (True, True)
    called = space.kubectl("exec", "one", "--", "/functions.wasm#five", check=False)
    assert called.stderr == "command terminated with exit code 5\n"
    unknown = space.kubectl("exec", "one", "--", "/functions.wasm#none", check=False)
    assert "exports no function 'none'" in unknown.stderr


def test_exec_has_a_terminal(space):
    space.ready(pod("one", waiting_guest()))
    words = space.words_of_kubectl("exec", "-it", "one", "--", "/tool.wasm", "say")
    assert at_terminal(words, {b"ready\r\n": b"x\n"}) == (0, "ready\r\nx\r\n")
    code, screen = at_terminal(words, {b"ready\r\n": b"\x03"})
    assert (code, "exit code 130" in screen) == (130, True)


def test_attach_is_heard_and_sees_what_the_container_says(space):
    space.ready(pod("cat", guest("/tool.wasm", "cat", stdin=True, stdinOnce=True)))
    assert space.kubectl("attach", "-i", "cat", typed="a line\n").stdout.endswith("a line\n")
    assert space.ended("cat")["exitCode"] == 0
    assert space.logs("cat") == "a line\n"


def test_run_shows_a_program_at_the_terminal_and_removes_it(space):
    overrides = '{"spec": {"runtimeClassName": "pelagos"}}'
    words = ("run", "-i", "--rm", "one", f"--image={GUESTS_IMAGE}", "--restart=Never", f"--overrides={overrides}")
    done = space.kubectl(*words, "--command", "--", "/tool.wasm", "cat", typed="a line\n")
    assert "a line\n" in done.stdout
    assert not space.names("run=one")


def test_files_are_copied_in_and_out_by_a_tar_of_the_image(space, tmp_path):
    space.ready(pod("files", waiting_guest()))
    (tmp_path / "in").write_text("a note\n")
    space.kubectl("cp", str(tmp_path / "in"), "files:/copied")
    assert space.kubectl("exec", "files", "--", "/tool.wasm", "read", "/copied").stdout == "a note\n"
    space.kubectl("cp", "files:/copied", str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "a note\n"


def test_a_port_is_forwarded(space, cluster):
    page = "mkdir /www; echo pages > /www/index.html; exec httpd -f -h /www -p 8000"
    space.ready(pod("web", waiting_guest(), native("/bin/sh", "-c", page)))
    forward = subprocess.Popen(
        space.words_of_kubectl("port-forward", "pod/web", "18000:8000"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert "Forwarding from" in forward.stdout.readline()
        busybox = cluster.programs.parent / "debian/bin/busybox"
        ask = (str(busybox), "wget", "-qO-", "http://127.0.0.1:18000/")
        until(lambda: cluster.machine.run(*ask, check=False).stdout == "pages\n", 20)
    finally:
        forward.terminate()
        forward.wait()
        forward.stdout.close()


def test_a_debug_container_joins_a_pod_and_sees_its_target(space):
    space.ready(pod("one", waiting_guest()))
    script = "cat /proc/1/comm; sleep 0.1"
    space.kubectl(
        "debug", "one", f"--image={BUSYBOX_IMAGE}", "--target=guest", "-c", "look", "--", "/bin/sh", "-c", script
    )
    assert space.ended("one", "look")["exitCode"] == 0
    assert space.logs("one", "-c", "look").strip() not in ("", "sh", "pause")


def test_a_debug_container_may_be_a_guest(space):
    space.ready(pod("one", waiting_guest()))
    space.kubectl("debug", "one", f"--image={GUESTS_IMAGE}", "-c", "look", "--", "/tool.wasm", "args", "x")
    assert space.ended("one", "look")["exitCode"] == 0
    assert space.logs("one", "-c", "look") == "/tool.wasm\nargs\nx\n"


def test_top_shows_what_a_guest_uses_and_an_autoscaler_acts_on_it(space):
    resources = {"resources": {"requests": {"cpu": "50m"}, "limits": {"cpu": "100m", "memory": "128Mi"}}}
    space.apply(deployment("busy", 1, guest("/spin.wasm", **resources)))
    space.kubectl("autoscale", "deployment/busy", "--min=1", "--max=2", "--cpu-percent=50")
    space.kubectl("rollout", "status", "deployment/busy", "--timeout=90s")

    def lines():
        return [line.split() for line in space.kubectl("top", "pod", "--no-headers", check=False).stdout.splitlines()]

    until(lambda: any(int(cpu[:-1]) >= 50 for _, cpu, _ in lines()), 90, lambda: space.describe("deployment/busy"))
    assert all(int(memory.removesuffix("Mi")) > 0 for _, _, memory in lines())
    until(lambda: len(space.names("app=busy")) == 2, 90, lambda: space.describe("hpa/busy"))


def test_containers_are_shown_as_running_and_are_ended_at_once(space):
    space.ready(pod("one", waiting_guest()))
    assert space.status("one")["state"].keys() == {"running"}
    start = time.monotonic()
    space.kubectl("delete", "pod", "one", "--grace-period=30")
    assert time.monotonic() - start < 15
