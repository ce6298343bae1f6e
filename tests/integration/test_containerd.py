"""What a user does with `ctr`, on a real containerd of each release."""

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.containerd import until
from tests.support.ctr_events import CtrEvents
from tests.support.screen import at_terminal
from tests.support.traces import alive, nothing_is_left, parent

pytestmark = [pytest.mark.root, pytest.mark.containerd, pytest.mark.guests]

NAMES = ("io.containerd.pelagos.wasm.v1", "io.containerd.pelagos-wasm.v1")


@pytest.mark.parametrize("runtime", NAMES)
def test_both_runtime_names_run_a_module(containerd, rootfs, container, runtime):
    done = containerd.run(runtime, rootfs, container, "/hello.wasm")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")


@pytest.mark.parametrize(
    ("args", "code", "output"),
    [
        (["/exit7.wasm"], 7, ""),
        (["/exit7.wat"], 7, ""),
        (["/tool.wasm", "args", "a b", "c"], 0, "/tool.wasm\nargs\na b\nc\n"),
        (["/tool.wasm", "exit", "42"], 42, ""),
        (["/tool.wasm", "read", "/data/note.txt"], 0, "a note\n"),
        (["/component.wasm"], 0, "hello from a component\n"),
        (["/component.wat"], 0, "hello from a component\n"),
        (["/component_error.wasm"], 1, "error from components\n"),
        (["hello.wasm"], 0, "hello\n"),
        (["/functions.wasm#five"], 5, ""),
        (["/functions.wasm#add", "-1", "3"], 0, "2\n"),
        (["/functions.wasm"], 0, ""),
    ],
)
def test_programs_say_and_return_what_they_should(containerd, rootfs, container, args, code, output):
    done = containerd.run(NAMES[0], rootfs, container, *args)
    assert (done.returncode, done.stdout) == (code, output), done.stderr


def test_a_go_program_runs_in_its_working_directory(containerd, rootfs, container):
    done = containerd.run(NAMES[0], rootfs, container, "/greet.wasm", "you", flags=("--rm", "--cwd", "/data"))
    assert done.returncode == 3
    assert done.stdout == "hello from Go, you\nnote: a note\n"
    assert done.stderr == "leaving with 3\n"


def test_a_trap_is_134_with_its_message_and_backtrace_on_stderr(containerd, rootfs, container):
    done = containerd.run(NAMES[0], rootfs, container, "/trap.wasm")
    assert done.returncode == 134
    assert "wasm trap: wasm `unreachable` instruction executed" in done.stderr
    assert re.search(r"0: +0x[0-9a-f]+ - .*inner", done.stderr) or "wasm backtrace" in done.stderr


def test_the_environment_is_exactly_the_specs(containerd, rootfs, container):
    done = containerd.run(
        NAMES[0], rootfs, container, "/tool.wasm", "env", flags=("--rm", "--env", "GREETING=hi", "--env", "EMPTY=")
    )
    names = {line.partition("=")[0] for line in done.stdout.splitlines()}
    assert {"GREETING=hi", "EMPTY="} <= set(done.stdout.splitlines())
    assert names == {"GREETING", "EMPTY"}


def test_a_long_output_arrives_whole(containerd, rootfs, container):
    done = containerd.run(NAMES[0], rootfs, container, "/tool.wasm", "out", "60000")
    assert done.stdout == "".join(f"{number:063d}\n" for number in range(60000))


def test_input_reaches_the_guest_and_ends(containerd, rootfs, container):
    text = b"line\n" * 50_000
    with containerd.popen(NAMES[0], rootfs, container, "/tool.wasm", "cat", flags=("--rm",)) as running:
        assert running.communicate(text, timeout=60) == (text, b"")


@pytest.mark.parametrize(("signal", "code"), [("SIGTERM", 143), ("SIGKILL", 137)])
def test_a_busy_guest_ends_at_once_by_a_signal(containerd, rootfs, container, signal, code):
    containerd.run(NAMES[0], rootfs, container, "/spin.wasm", flags=("-d",))
    assert containerd.tasks()[container][1] == "RUNNING"
    began = time.monotonic()
    containerd.ctr("task", "kill", "-s", signal, container, check=True)
    until(lambda: containerd.tasks()[container][1] == "STOPPED", 1)
    assert time.monotonic() - began < 1
    gone = containerd.ctr("task", "rm", container)
    assert f"exit code {code}" in gone.stderr or f"exit with non-zero exit code {code}" in gone.stderr
    containerd.ctr("container", "rm", container, check=True)


def test_two_containers_run_at_once(containerd, rootfs, container):
    for name in ("a", "b"):
        containerd.run(NAMES[0], rootfs, f"{container}-{name}", "/spin.wasm", flags=("-d",))
    tasks = containerd.tasks()
    assert {tasks[f"{container}-{name}"][1] for name in ("a", "b")} == {"RUNNING"}
    containerd.ctr("task", "rm", "-f", f"{container}-a", check=True)
    assert containerd.tasks()[f"{container}-b"][1] == "RUNNING"
    containerd.ctr("task", "rm", "-f", f"{container}-b", check=True)
    for name in ("a", "b"):
        containerd.ctr("container", "rm", f"{container}-{name}", check=True)


def test_another_module_is_run_in_a_running_container(containerd, rootfs, container):
    containerd.run(NAMES[0], rootfs, container, "/spin.wasm", flags=("-d", "--env", "FROM=spec"))
    execute = ("task", "exec", "--exec-id", "e1")
    done = containerd.ctr(*execute, container, "/tool.wasm", "args", "a b")
    assert (done.returncode, done.stdout) == (0, "/tool.wasm\nargs\na b\n"), done.stderr
    assert "FROM=spec" in containerd.ctr(*execute, container, "/tool.wasm", "env").stdout
    assert containerd.ctr(*execute, container, "/exit7.wasm").returncode == 7
    assert containerd.ctr(*execute, container, "/functions.wasm#five").returncode == 5
    assert containerd.ctr(*execute, container, "/functions.wasm#add", "-1", "3").stdout == "2\n"
    done = containerd.ctr(*execute, container, "/none.wasm")
    assert done.returncode == 1
    assert f"exec 'e1' of container '{container}': entry point '/none.wasm': no such file" in done.stderr
    assert containerd.tasks()[container][1] == "RUNNING"
    containerd.ctr("task", "rm", "-f", container, check=True)
    containerd.ctr("container", "rm", container, check=True)


def test_a_terminal_is_typed_to_and_an_exec_gets_one_too(containerd, rootfs, container):
    flags = ["--runtime", NAMES[0], "--rootfs", str(rootfs)]
    words = containerd.command("run", "--rm", "-t", *flags, container, "/tool.wasm", "say")
    # ctr leaves its own terminal turning \n into \r\n, as the guest's has done before
    assert at_terminal(words, {b"ready\r\r\n": b"x\n"}) == (0, "ready\r\r\nx\r\r\n")
    containerd.run(NAMES[0], rootfs, container, "/spin.wasm", flags=("-d",))
    words = containerd.command("task", "exec", "-t", "--exec-id", "e1", container, "/tool.wasm", "say")
    assert at_terminal(words, {b"ready\r\r\n": b"\x03"}) == (130, "ready\r\r\n^C")
    containerd.ctr("task", "rm", "-f", container, check=True)
    containerd.ctr("container", "rm", container, check=True)


def test_containers_of_one_pod_share_a_shim(containerd, rootfs, container):
    for name in ("a", "b"):
        flags = ("-d", "--annotation", f"io.kubernetes.cri.sandbox-id={container}")
        done = containerd.run(NAMES[0], rootfs, f"{container}-{name}", "/spin.wasm", flags=flags)
        assert done.returncode == 0, done.stderr
    pids = [containerd.tasks()[f"{container}-{name}"][0] for name in ("a", "b")]
    assert len({parent(pid) for pid in pids}) == 1
    for name in ("a", "b"):
        containerd.ctr("task", "rm", "-f", f"{container}-{name}", check=True)
        containerd.ctr("container", "rm", f"{container}-{name}", check=True)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["/none.wasm"], "'/none.wasm': no such file or directory in the container"),
        (["/data/note.txt"], "is not WebAssembly"),
        (["/unknown_import.wasm"], "unknown import: nobody::has_this"),
        (["/functions.wasm#add", "1"], "the function add(i32, i32) -> i32, which takes 2 arguments, and is given 1"),
        (["/functions.wasm#sub"], "exports no function 'sub'"),
    ],
)
def test_what_cannot_run_is_reported_in_one_line(containerd, rootfs, container, args, message):
    done = containerd.run(NAMES[0], rootfs, container, *args)
    assert done.returncode == 1
    # the container's stderr, if ctr has copied it before its time-out, and ctr's own error
    *said, error = done.stderr.splitlines()
    assert message in error
    assert re.search(r" \[PLG-[A-Z-]+\](: [a-z ]+)?$", error)  # 1.6 and 1.7 append the code's name
    assert len(said) <= 1
    assert all(line.startswith("pelagos: ") and line.removeprefix("pelagos: ") in error for line in said)
    assert containerd.run(NAMES[0], rootfs, container, "/hello.wasm").stdout == "hello\n"


def test_a_killed_shim_is_cleaned_up_after(containerd, rootfs, container):
    containerd.run(NAMES[0], rootfs, container, "/spin.wasm", flags=("-d",))
    pid = containerd.tasks()[container][0]
    os.kill(parent(pid), 9)
    until(lambda: not alive(pid))
    until(lambda: container not in containerd.tasks())
    nothing_is_left(containerd.directory, container)
    containerd.ctr("container", "rm", container, check=True)


def test_events_come_in_the_promised_order(containerd, rootfs, container):
    with CtrEvents(containerd) as events:
        containerd.run(NAMES[0], rootfs, container, "/exit7.wasm")
        events.until(container, "create", "start", "exit", "delete")
        (exited,) = [fields for topic, fields in events.of(container) if topic == "exit"]
        assert exited["exit_status"] == 7


def test_fifty_runs_leave_nothing_behind(containerd, rootfs, container):
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(containerd.run, NAMES[n % 2], rootfs, f"{container}-{n}", "/hello.wasm") for n in range(50)]
    assert [(run.result().returncode, run.result().stdout) for run in runs] == [(0, "hello\n")] * 50
    nothing_is_left(containerd.directory, container)
