"""`pelagos run`, as a person uses it: a real container, through the real shim."""

import os
import re
import signal
import subprocess
import sys

import pytest

from tests.support.runs import left_by_runs, native_words, wait_until_nothing_is_left
from tests.support.screen import at_terminal

COMMAND = [sys.executable, "-m", "pelagos_core", "run"]

pytestmark = [pytest.mark.container, pytest.mark.guests]


def pelagos(*words, cwd, **options):
    command = [*COMMAND, *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, **options)


@pytest.fixture(autouse=True)
def _nothing_is_left():
    before = left_by_runs()
    yield
    wait_until_nothing_is_left(before)


@pytest.mark.parametrize(
    ("words", "code", "output"),
    [
        (["hello.wasm"], 0, "hello\n"),
        (["hello.wat"], 0, "hello\n"),
        (["exit7.wasm"], 7, ""),
        (["tool.wasm", "exit", "255"], 255, ""),
        (["tool.wasm", "args", "--flag", "-x", "a b"], 0, "/tool.wasm\nargs\n--flag\n-x\na b\n"),
        (["component.wasm"], 0, "hello from a component\n"),
        (["functions.wasm#five"], 5, ""),
        (["--env", "A=1", "-e", "B=x=y", "tool.wasm", "env"], 0, "A=1\nB=x=y\n"),
        (["--backend", "wasmtime", "hello.wasm"], 0, "hello\n"),
        (["--backend", "auto", "hello.wasm"], 0, "hello\n"),
        (["--workdir", "/work", "hello.wasm"], 0, "hello\n"),
        (["--mount", "type=tmpfs,target=/tmp", "tool.wasm", "write", "/tmp/x", "y"], 0, ""),
    ],
)
def test_the_programs_output_and_exit_code_are_the_commands(guests, words, code, output):
    done = pelagos(*words, cwd=guests)
    assert (done.returncode, done.stdout, done.stderr) == (code, output, "")


def test_a_rootfs_directory_is_run_in_place(guests, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/tool.wasm").write_bytes((guests / "tool.wasm").read_bytes())
    done = pelagos(tmp_path, "/bin/tool.wasm", "write", "/written", "by the guest", cwd=guests)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "written").read_text() == "by the guest"


@pytest.mark.root
def test_limits_hold(guests):
    limits = ["--memory", "64m", "--cpus", "0.5", "--cpuset-cpus", "0", "--pids-limit", "50"]
    fill = ["--mount", "type=tmpfs,target=/x", "memory.wasm", "fill", "/x/file", "500"]
    assert pelagos(*limits, *fill, cwd=guests).returncode == 137


def test_a_variable_without_a_value_is_passed_on_if_it_is_set(guests):
    environment = {name: value for name, value in os.environ.items() if name != "NONE"}
    words = ["--env", "MINE", "--env", "EMPTY", "--env", "NONE", "tool.wasm", "env"]
    done = pelagos(*words, cwd=guests, env={**environment, "MINE": "too", "EMPTY": ""})
    assert done.stdout == "MINE=too\nEMPTY=\n"


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("shape", ["mount", "volume"])
def test_a_directory_is_mounted(guests, tmp_path, shape, readonly):
    (tmp_path / "in").write_text("from the host\n")
    if shape == "mount":
        words = ["--mount", f"type=bind,source={tmp_path},target=/data" + (",readonly" if readonly else "")]
    else:
        words = ["-v", f"{tmp_path}:/data" + (":ro" if readonly else "")]
    assert pelagos(*words, "tool.wasm", "read", "/data/in", cwd=guests).stdout == "from the host\n"
    done = pelagos(*words, "tool.wasm", "write", "/data/out", "x", cwd=guests)
    assert (done.returncode, (tmp_path / "out").exists()) == ((1, False) if readonly else (0, True))


def test_input_is_passed_on_only_if_asked_for(guests):
    assert pelagos("-i", "tool.wasm", "cat", cwd=guests, input="typed\n").stdout == "typed\n"
    assert pelagos("tool.wasm", "cat", cwd=guests, input="typed\n").stdout == ""


def test_a_trap_is_134_and_explained(guests):
    done = pelagos("trap.wasm", cwd=guests)
    assert done.returncode == 134
    assert "unreachable" in done.stderr


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_the_command_is_the_guests(guests, signum, code):
    command = [sys.executable, "-m", "pelagos_core", "run", "-i", "tool.wasm", "say"]
    with subprocess.Popen(command, cwd=guests, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signum)
        assert process.wait(10) == code


def test_closed_streams_of_the_command_are_no_trouble(guests):
    command = f"{sys.executable} -m pelagos_core run {{}} tool.wasm {{}} <&- >&- 2>&-"
    for flags, what, code in (("", "args", 0), ("-i", "cat", 0), ("", "err", 0), ("", "exit 3", 3)):
        done = subprocess.run(command.format(flags, what), shell=True, cwd=guests, timeout=60)
        assert done.returncode == code, what


def test_a_reader_that_leaves_ends_the_guest(guests):
    command = [sys.executable, "-m", "pelagos_core", "run", "tool.wasm", "out", "100000000"]
    with subprocess.Popen(command, cwd=guests, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(20) == 128 + signal.SIGPIPE


def test_output_that_cannot_be_written_ends_the_program_and_is_said(guests):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, "tool.wasm", "out", "100000000"], cwd=guests, stdout=full, stderr=subprocess.PIPE, timeout=60
        )
    assert (done.returncode, done.stderr) == (
        125,
        b"pelagos: run: the program's output is lost: No space left on device\n",
    )


def test_a_program_that_ignores_the_end_of_its_reader_is_ended_too(tmp_path):
    command = [*COMMAND, *native_words(tmp_path), "/bin/sh", "-c", "trap '' PIPE; while :; do echo more; done 2>&-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(20) in (128 + signal.SIGPIPE, 128 + signal.SIGKILL)


@pytest.mark.parametrize("flags", ["-i", "-it"])
def test_a_program_whose_input_is_taken_away_by_policy_runs_without(guests, flags):
    words = ["--annotation", "io.pelagos.wasm.stdin=none", flags, str(guests / "tool.wasm"), "cat"]
    if flags == "-i":
        done = pelagos(*words, cwd=guests, input="typed\n")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    else:
        code, screen = at_terminal([*COMMAND, *words], {})
        assert (code, screen.rpartition("\x1b[K")[2]) == (0, "")


@pytest.mark.root
def test_out_of_memory_is_said(guests):
    fill = ["--mount", "type=tmpfs,target=/x", "memory.wasm", "fill", "/x/file", "500"]
    done = pelagos("--memory", "64m", *fill, cwd=guests)
    told = "pelagos: run: out of memory: its limit is 64.0 MiB; --memory raises it\n"
    assert (done.returncode, done.stderr) == (137, told)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--memory", "4m", "hello.wasm"], 125, "'4m' is too small for an engine: the least is 6m"),
        (["/dev/zero"], 126, "module '/dev/zero' is a device, not a regular file"),
        ([sys.executable], 126, "is a native program, not WebAssembly"),
        (["--backend", "none-such", "hello.wasm"], 127, "'none-such', asked for by --backend, is not installed"),
        (["--entrypoint", "x", "hello.wasm"], 125, "no such option '--entrypoint'; see `pelagos run --help`"),
        (["--memry", "64m", "hello.wasm"], 125, "no such option '--memry'; did you mean '--memory'?"),
        (["nothing.wasm"], 127, "module 'nothing.wasm' does not exist"),
        (["complete"], 126, "entry point '/complete' (file of unknown kind)"),
        (["unknown_import.wasm"], 126, "unknown import: nobody::has_this"),
        (
            ["--backend", "none-such", "hello.wasm"],
            127,
            ", is not installed (installed: ",
        ),
        (["."], 125, "name the module in it"),
        ([".", "/nothing.wasm"], 127, "'/nothing.wasm': no such file or directory in the container"),
        (["--env", "=x", "hello.wasm"], 125, "not NAME=VALUE"),
        (["--workdir", "relative", "hello.wasm"], 125, "'relative' is not absolute"),
        (["--mount", "source=/x", "hello.wasm"], 125, "--mount"),
        (["-v", "/proc/none/such:/x", "hello.wasm"], 125, "source '/proc/none/such' does not exist"),
        (["-v", "/tmp", "hello.wasm"], 125, "is not SOURCE:TARGET[:ro]"),
        (["--memory", "much", "hello.wasm"], 125, "'much' is not a size such as 64m"),
        (["--cpus", "1000", "hello.wasm"], 125, "1000 is not from 0.01 to"),
        (["--cpuset-cpus", "a", "hello.wasm"], 125, "'a' is not a list such as 0-2,7"),
        (["--no-such-option", "hello.wasm"], 125, "no such option"),
        ([], 125, "missing argument"),
    ],
)
def test_mistakes_are_reported_in_one_line_with_dockers_exit_codes(guests, words, code, message):
    done = pelagos(*words, cwd=guests)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert done.stderr.startswith("pelagos: run: ")
    assert done.stderr.count("\n") == 1


def test_a_guest_in_a_terminal_is_typed_to(guests):
    typed = {b"ready\r\n": b"x\n"}
    code, screen = at_terminal([*COMMAND, "-it", str(guests / "tool.wasm"), "say"], typed)
    assert code == 0
    assert screen.rpartition("\x1b[K")[2] == "ready\r\nx\r\n"  # what a busy machine brings about is cleared


def test_the_interrupt_key_ends_a_guest(guests):
    code, _ = at_terminal([*COMMAND, "-it", str(guests / "tool.wasm"), "say"], {b"ready": b"\x03"})
    assert code == 130


def test_a_terminal_without_input_needs_none_of_ours(guests):
    done = pelagos("-t", guests / "tool.wasm", "env", cwd="/")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"TERM=\S+\n", done.stdout)
    done = pelagos("-it", guests / "tool.wasm", "env", cwd="/", stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (125, "pelagos: run: --tty: standard input is not a terminal\n")
