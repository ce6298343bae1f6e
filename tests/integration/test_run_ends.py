"""`pelagos run` that is ended, at any moment and by whatever: nothing of it is left."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from pelagos_core.daemon import runs
from tests.support.containerd import until
from tests.support.runs import left_by_runs, native_words, wait_until_nothing_is_left

COMMAND = [sys.executable, "-m", "pelagos_core", "run"]
DEADLY = ["TERM", "HUP", "INT", "QUIT", "USR1", "USR2", "ABRT", "ALRM", "RTMIN"]

pytestmark = [pytest.mark.container, pytest.mark.guests]


@pytest.fixture(autouse=True)
def _nothing_is_left():
    before = left_by_runs()
    yield
    wait_until_nothing_is_left(before)


@contextlib.contextmanager
def started(*words, **options):
    command = [*COMMAND, *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def record_of(process):
    return next((run for run in runs.listed(os.geteuid()) if run.pid == process.pid), None)


def wait_until_it_runs(process):
    until(lambda: (run := record_of(process)) and run.backend, 60)


def said(process):
    """What is on stderr, without the line that a busy machine brings about."""
    lines = process.stderr.read().decode().splitlines(keepends=True)
    return "".join(line for line in lines if not line.endswith("s already)\n"))


@pytest.fixture
def slow(tmp_path):
    """A module that takes seconds to compile, and the command's environment with an empty cache."""
    body = "(local i64) " + "(local.set 0 (i64.mul (i64.add (local.get 0) (i64.const 3)) (local.get 0)))" * 300
    text = "".join(f"(func {body})" for _ in range(2000))
    (tmp_path / "slow.wat").write_text(f'(module {text}(func (export "_start")))')
    return tmp_path / "slow.wat", {**os.environ, "PELAGOS_CACHE_DIR": str(tmp_path / "cache")}


@pytest.mark.parametrize("name", DEADLY)
def test_a_signal_ends_a_guest_with_the_code_of_the_signal(guests, name):
    signum = signal.Signals[f"SIG{name}"]
    with started(guests / "spin.wasm") as process:
        wait_until_it_runs(process)
        time.sleep(0.1)
        process.send_signal(signum)
        assert process.wait(30) == 128 + signum
        assert said(process) == ""


# What CPython says of a signal while it runs site.py, or a .pth file of an editable installation.
EARLY = re.compile(rb"init_import_site|Error processing line|sitecustomize")


def test_a_command_that_is_killed_takes_its_guest_along(guests):
    with started(guests / "spin.wasm") as process:
        wait_until_it_runs(process)
        process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5])
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_may_be_ended_at_any_moment(guests, signum, moment):
    with started(guests / "spin.wasm") as process:
        time.sleep(moment)
        process.send_signal(signum)
        code = process.wait(30)
        # On a busy machine the interpreter may not have come to our code yet: it makes 1 of SIGINT then.
        assert code in (128 + signum, -signum) or (code == 1 and EARLY.search(process.stderr.read()))


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "KILL"])
def test_it_may_be_ended_while_it_compiles(slow, name):
    module, environment = slow
    signum = signal.Signals[f"SIG{name}"]
    with started(module, env=environment) as process:
        until(lambda: record_of(process) and record_of(process).address, 30)
        time.sleep(0.5)
        process.send_signal(signum)
        began = time.monotonic()
        assert process.wait(30) == (-signum if name == "KILL" else 128 + signum)
        assert time.monotonic() - began < 15
        assert said(process) == ""


def test_each_signal_is_a_native_programs_own(tmp_path):
    names = ["HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "ALRM", "WINCH", "CONT", "URG", "TSTP"]
    traps = "; ".join(f"trap 'echo {name}' {name}" for name in names)
    script = f"{traps}; echo ready; while :; do sleep 0.05; done"
    with started(*native_words(tmp_path), "/bin/sh", "-c", script) as process:
        assert process.stdout.readline() == b"ready\n"
        for name in names:
            process.send_signal(signal.Signals[f"SIG{name}"])
            assert process.stdout.readline().decode() == f"{name}\n"
        process.kill()


def test_it_can_be_ended_when_nothing_reads_the_output_of_a_program_that_has_ended(guests):
    # 96,000 bytes: more than a pipe holds, so that the command waits, and less than two, so that the guest does not.
    with started(guests / "tool.wasm", "out", "1500") as process:
        wait_until_it_runs(process)
        run_id = record_of(process).id
        until(lambda: _status(run_id) == "stopped", 60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM


def _status(run_id):
    words = [sys.executable, "-m", "pelagos_core", "ps", "--json"]
    listed = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    return next((each["status"] for each in listed if each["id"] == run_id), "")


def test_a_terminal_that_is_closed_ends_it(guests):
    master, slave = os.openpty()
    words = [*COMMAND, "-it", str(guests / "tool.wasm"), "say"]
    process = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    shown = b""
    while b"ready" not in shown:
        shown += os.read(master, 1024)
    os.close(master)
    process.send_signal(signal.SIGHUP)  # a shell's word to its jobs, when its terminal has gone
    assert process.wait(30) != 0


def test_a_shim_that_is_killed_is_cleaned_up_after_and_said(guests):
    with started(guests / "spin.wasm") as process:
        wait_until_it_runs(process)
        (daemon,) = [pid for pid in filter(str.isdigit, os.listdir("/proc")) if _is_daemon(pid, record_of(process).id)]
        os.kill(int(daemon), signal.SIGKILL)
        assert process.wait(30) == 125
        assert said(process) == "pelagos: run: the container's shim has ended\n"


def _is_daemon(pid, run_id):
    """Whether it is the daemon of a run, and not one of its forks, which have the same command line."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().replace(b"\0", b" ").split()
        with open(f"/proc/{pid}/comm") as file:
            return file.read() == "pelagos-shim\n" and run_id.encode() in words
    except OSError:
        return False


def test_what_could_not_be_cleaned_up_is_so_by_the_next_run(guests):
    place = runs.usable_place(os.geteuid())
    directory, alive = runs.make(place, runs.new(("x.wasm",)))
    os.mkdir(f"{directory}/bundle")
    os.close(alive)
    done = subprocess.run([*COMMAND, guests / "hello.wasm"], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, b"hello\n")
    assert not os.path.exists(directory)


def test_a_full_disk_leaves_nothing_and_is_said(guests, tmp_path):
    if os.geteuid():
        pytest.skip("mounts")
    limit = f"mount -t tmpfs -o size=2m,mode=700 none {runs.ROOTS}"
    script = f"mkdir -p {runs.ROOTS}; {limit}; {' '.join(COMMAND)} {guests}/greet.wasm; echo $?; ls {runs.ROOTS}"
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout == "125\n"
    assert "No space left on device" in done.stderr
