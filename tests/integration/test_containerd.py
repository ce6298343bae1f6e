"""What a user does with `ctr`, on a real containerd that these tests start in a private place."""

import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from scripts import engines
from tests.support.containerd import SHIM_SOCKETS, Containerd

pytestmark = [pytest.mark.root, pytest.mark.containerd, pytest.mark.guests]

NAMES = ("io.containerd.pelagos.wasm.v1", "io.containerd.pelagos-wasm.v1")


@pytest.fixture(scope="module")
def containerd(tmp_path_factory):
    bin_dir = tmp_path_factory.mktemp("bin")
    subprocess.run([sys.executable, "-m", "pelagos_core", "install", "--bin-dir", bin_dir], check=True)
    daemon = Containerd(bin_dir)
    yield daemon
    daemon.close()


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory, guests):
    """An image's files: the test programs at its top."""
    directory = tmp_path_factory.mktemp("image")
    for program in guests.glob("*.wa*"):
        shutil.copy(program, directory)
    (directory / "data").mkdir()
    (directory / "data/note.txt").write_text("a note\n")
    return directory


@pytest.fixture
def container():
    """A container's name that no other test has used."""
    return f"t-{os.urandom(4).hex()}"


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
    command = [*_ctr(containerd), "run", "--rm", "--runtime", NAMES[0], "--rootfs", str(rootfs), container]
    done = subprocess.run([*command, "/tool.wasm", "cat"], input=text, capture_output=True, timeout=60)
    assert done.stdout == text


@pytest.mark.parametrize(("signal", "code"), [("SIGTERM", 143), ("SIGKILL", 137)])
def test_a_busy_guest_ends_at_once_by_a_signal(containerd, rootfs, container, signal, code):
    containerd.run(NAMES[0], rootfs, container, "/spin.wasm", flags=("-d",))
    assert containerd.tasks()[container][1] == "RUNNING"
    began = time.monotonic()
    containerd.ctr("task", "kill", "-s", signal, container, check=True)
    _until(lambda: containerd.tasks()[container][1] == "STOPPED", 1)
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


def test_containers_of_one_pod_share_a_shim(containerd, rootfs, container):
    for name in ("a", "b"):
        flags = ("-d", "--annotation", f"io.kubernetes.cri.sandbox-id={container}")
        done = containerd.run(NAMES[0], rootfs, f"{container}-{name}", "/spin.wasm", flags=flags)
        assert done.returncode == 0, done.stderr
    pids = [containerd.tasks()[f"{container}-{name}"][0] for name in ("a", "b")]
    assert len({_parent(pid) for pid in pids}) == 1
    for name in ("a", "b"):
        containerd.ctr("task", "rm", "-f", f"{container}-{name}", check=True)
        containerd.ctr("container", "rm", f"{container}-{name}", check=True)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["/none.wasm"], "'/none.wasm': no such file in the container"),
        (["/data/note.txt"], "is not WebAssembly"),
        (["/unknown_import.wasm"], "unknown import: nobody::has_this"),
        (["/functions.wasm#add"], "function 'add' takes arguments"),
        (["/functions.wasm#sub"], "exports no function 'sub'"),
    ],
)
def test_what_cannot_run_is_told_in_one_line(containerd, rootfs, container, args, message):
    done = containerd.run(NAMES[0], rootfs, container, *args)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert containerd.run(NAMES[0], rootfs, container, "/hello.wasm").stdout == "hello\n"


def test_a_killed_shim_is_cleaned_up_after(containerd, rootfs, container):
    containerd.run(NAMES[0], rootfs, container, "/spin.wasm", flags=("-d",))
    pid = containerd.tasks()[container][0]
    sockets = os.listdir(SHIM_SOCKETS)
    os.kill(_parent(pid), 9)
    _until(lambda: not os.path.exists(f"/proc/{pid}"))
    _until(lambda: container not in containerd.tasks())
    _until(lambda: not _cgroups(container))
    _until(lambda: len(os.listdir(SHIM_SOCKETS)) == len(sockets) - 1)
    containerd.ctr("container", "rm", container, check=True)


def test_events_come_in_the_promised_order(containerd, rootfs, container):
    with subprocess.Popen([*_ctr(containerd), "events"], stdout=subprocess.PIPE, text=True) as listener:
        try:
            _until(lambda: _subscribed(containerd))
            containerd.run(NAMES[0], rootfs, container, "/exit7.wasm")
            topics = []
            for line in listener.stdout:
                if container in line and "/tasks/" in line:
                    topics.append(re.search(r"/tasks/(\S+)", line)[1])
                if "/tasks/delete" in line and container in line:
                    break
        finally:
            listener.terminate()
    assert topics == ["create", "start", "exit", "delete"]


def test_fifty_runs_leave_nothing_behind(containerd, rootfs, container):
    containerd.run(NAMES[0], rootfs, f"{container}-first", "/hello.wasm")
    before = _traces()
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(containerd.run, NAMES[n % 2], rootfs, f"{container}-{n}", "/hello.wasm") for n in range(50)]
    assert [(run.result().returncode, run.result().stdout) for run in runs] == [(0, "hello\n")] * 50
    _until(lambda: _traces() == before)


def _ctr(containerd):
    return [str(containerd._bin / "ctr"), "--address", str(containerd.directory / "containerd.sock")]


def _subscribed(containerd):
    # Publishing something is the only way to learn that the listener is there.
    return time.sleep(0.3) or True


def _parent(pid):
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


def _cgroups(name):
    return [path for path, _, _ in os.walk("/sys/fs/cgroup") if os.path.basename(path) == name]


def _traces():
    """Everything a run could leave: shim processes, mounts, sockets, cgroups, FIFOs."""
    with open("/proc/self/mountinfo") as file:
        mounts = sorted(line.split()[4] for line in file)
    shims = sorted(pid for pid in filter(str.isdigit, os.listdir("/proc")) if b"pelagos_core.shim" in _cmdline(pid))
    cgroups = sorted(path for path, _, _ in os.walk("/sys/fs/cgroup"))
    fifos = sorted(os.listdir("/run/containerd/fifo")) if os.path.isdir("/run/containerd/fifo") else []
    return shims, mounts, sorted(os.listdir(SHIM_SOCKETS)), cgroups, fifos


def _cmdline(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def _until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.mark.engines
def test_one_pod_runs_three_containers_on_three_engines_at_once(rootfs, container, tmp_path):
    (tmp_path / "config.toml").write_text(engines.config())
    subprocess.run([sys.executable, "-m", "pelagos_core", "install", "--bin-dir", tmp_path], check=True)
    daemon = Containerd(tmp_path, {"PELAGOS_CONFIG": str(tmp_path / "config.toml")})
    try:
        names = ("wasmtime", "wasmedge", "wasmer")
        for name in names:
            flags = ["-d", "--annotation", f"io.kubernetes.cri.sandbox-id={container}"]
            flags += ["--annotation", f"io.pelagos.wasm.runtime={name}"]
            done = daemon.run(NAMES[0], rootfs, f"{container}-{name}", "/spin.wasm", flags=tuple(flags))
            assert done.returncode == 0, done.stderr
        tasks = daemon.tasks()
        assert {tasks[f"{container}-{name}"][1] for name in names} == {"RUNNING"}
        assert len({_parent(tasks[f"{container}-{name}"][0]) for name in names}) == 1
        for name in names:
            assert f"created by backend '{name}'" in daemon.log()
            daemon.ctr("task", "rm", "-f", f"{container}-{name}", check=True)
            daemon.ctr("container", "rm", f"{container}-{name}", check=True)
    finally:
        daemon.close()
