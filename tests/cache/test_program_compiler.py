"""A program that compiles: what it can reach, what ends it, and what is made of what it leaves."""

import os
import re
import time
from dataclasses import replace

import pytest

from pelagos_core.backends.registry import Backends, Plugin
from pelagos_core.errors import DeadlineExceeded, Internal, InvalidArgument, ResourceExhausted
from pelagos_core.plugin import program
from pelagos_core.plugin.entrypoint import Entrypoint, Kind
from pelagos_core.plugin.program_backend import ProgramBackend
from tests.support import compiling

pytestmark = pytest.mark.root

SHELL = program.find("sh", {})
TOOLS = [program.find(name, {}) for name in ("cat", "id", "ln", "ls", "mkdir", "mkfifo", "sleep", "truncate")]
FILES = {file.target: file for tool in (SHELL, *TOOLS) for file in tool.files}
WHERE = "PATH=/usr/bin;"


class Script(ProgramBackend):
    """A shell as the engine: `$1` is the module, `$2` where the code goes, and it may execute TOOLS."""

    name = "sh"
    engine = "Shell"
    version_arguments = ()
    invalid = re.compile("invalid: (.*)")
    code_name = "code.so"

    def __init__(self, script):
        super().__init__()
        self.script = script

    def find_program(self, settings):
        self.program, self.problem = replace(SHELL, files=tuple(FILES.values())), ""

    def compilation(self, entrypoint, output):
        return ["-c", f"{WHERE} {self.script}", "sh", entrypoint.file_path, output] if self.script else []


def backend(script):
    return Backends.load([Plugin("tiny", "1", lambda: Script(script))]).named("tiny")


def obtain(tmp_path, script, **settings):
    return compiling.obtain(compiling.job_of(backend(script), tmp_path, **settings))


def lines(tmp_path, script, **settings):
    """What a script that prints its findings to the output has found."""
    return obtain(tmp_path, f"exec > $2; {script}", size=0, **settings)[0].decode().splitlines()


def test_what_it_leaves_is_the_code_and_is_kept(tmp_path):
    assert obtain(tmp_path, "exec cat $1 $1 > $2") == (compiling.MODULE * 2, "compiled")
    assert obtain(tmp_path, "exec cat $1 $1 > $2") == (compiling.MODULE * 2, "found")


def test_its_root_has_its_own_files_the_module_and_a_place_to_write(tmp_path):
    top = sorted({target.split("/")[1] for target in FILES} | {"module.wasm", "tmp"})
    assert lines(tmp_path, "exec ls /") == top
    assert lines(tmp_path, "exec ls /tmp /usr/bin") == [
        "/tmp:",
        "code.so",
        "",
        "/usr/bin:",
        *sorted(os.path.basename(tool.path) for tool in (SHELL, *TOOLS)),
    ]


@pytest.mark.parametrize("path", ["/x", "/module.wasm", "/usr/bin/sh", "/usr/bin/x"])
def test_it_can_write_nothing_but_there(tmp_path, path):
    with pytest.raises(Internal, match=r"compile: the program ended with \d+"):
        obtain(tmp_path, f"echo code > $2; : > {path}")


def test_it_has_no_privileges_no_descriptor_and_no_process_but_its_parent(tmp_path):
    assert lines(tmp_path, "exec id") == ["uid=65534 gid=65534 groups=65534"]
    assert lines(tmp_path, "echo $PPID $$") == ["1 2"]
    assert lines(tmp_path, "for n in 3 4 5 6 7 8 9; do command : >&$n && echo $n; done; :; echo none") == ["none"]


def test_it_can_start_no_other_process(tmp_path):
    with pytest.raises(Internal, match="the program ended with 2"):
        obtain(tmp_path, "echo code > $2; bomb() { bomb | bomb & }; bomb")


def test_a_fork_bomb_that_is_not_kept_from_forking_ends_with_its_time(tmp_path):
    began = time.monotonic()
    with pytest.raises((DeadlineExceeded, ResourceExhausted, Internal)):
        obtain(
            tmp_path,
            "while :; do sleep 100 & n=$((n+1)); [ $n = 50 ] && exec sleep 100; done",
            seconds=1,
            confined=False,
        )
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (":", "left no code: /tmp/code.so: No such file"),
        (": > $2", "is empty or not a file"),
        ("exec ln -s /module.wasm $2", "left no code: /tmp/code.so: Too many levels of symbolic links"),
        ("exec ln -s /usr/bin/sh $2", "Too many levels of symbolic links"),
        ("exec mkdir $2", "is empty or not a file"),
        ("umask 777; exec truncate -s 1 $2", "left no code: /tmp/code.so: Permission denied"),
        ("exit 3", "the program ended with 3"),
        ("echo Lost; exit 1", "the program ended with 1"),
    ],
)
def test_what_is_no_code_is_the_engine_s_fault(tmp_path, script, message):
    with pytest.raises(Internal, match=f"'/app.wasm': backend 'tiny': compile: .*{message}.*ENGINE-FAILED"):
        obtain(tmp_path, script)
    assert [each for each in os.listdir(tmp_path / "cache") if each != "lock"] == []


def test_a_fifo_is_no_code_and_is_not_waited_for(tmp_path):
    with pytest.raises(Internal, match="is empty or not a file"):
        obtain(tmp_path, "exec mkfifo $2", confined=False)


def test_a_program_that_dies_is_the_engine_s_fault(tmp_path):
    with pytest.raises(Internal, match=r"the program was ended by SIGSEGV.*ENGINE-FAILED"):
        obtain(tmp_path, "kill -SEGV $$", confined=False)
    with pytest.raises(ResourceExhausted, match=r"the program was killed, probably by its limit of 2\.0 GiB"):
        obtain(tmp_path, "kill -KILL $$", confined=False, memory=2 << 30)


@pytest.mark.parametrize("size", ["3g", "1t"])
def test_code_larger_than_its_memory_is_refused(tmp_path, size):
    with pytest.raises(ResourceExhausted, match=r"of code, and compiling may take 64\.0 MiB"):
        obtain(tmp_path, f"exec truncate -s {size} $2", memory=64 << 20)


LONG = "a=0123456789abcdef; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do a=$a$a; done"  # 64 KiB


def test_what_it_writes_is_limited_by_its_memory(tmp_path):
    with pytest.raises(Internal, match="the program ended with 7"):
        obtain(tmp_path, f"{LONG}; while echo $a >> $2; do :; done; exit 7", memory=64 << 20)
    with pytest.raises(Internal, match="the program ended with 7"):
        obtain(tmp_path, f"{LONG}; while echo $a; do :; done; exit 7", memory=64 << 20)


def test_its_time_is_limited(tmp_path):
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"'/app\.wasm': backend 'tiny' did not compile it in 1 s"):
        obtain(tmp_path, "exec sleep 100", seconds=1)
    assert time.monotonic() - began < 10


def test_what_it_says_of_the_module_is_the_module_s_fault(tmp_path):
    with pytest.raises(InvalidArgument, match=r"^'/app\.wasm' is not valid WebAssembly: no such type$"):
        obtain(tmp_path, "echo lost; echo 'invalid: no  such type' >&2; exit 1")
    with pytest.raises(InvalidArgument, match=r"^'/app\.wasm' is not valid WebAssembly: last$"):
        obtain(tmp_path, f"{LONG}; echo $a; echo $a; echo invalid: last; exit 1")


def test_its_output_is_discarded(tmp_path, capfd):
    obtain(tmp_path, "echo noise; echo noise >&2; echo code > $2")
    assert capfd.readouterr() == ("", "")


def test_a_program_that_is_not_there_any_more_is_reported(tmp_path):
    made = Script("echo code > $2")
    gone = replace(FILES[SHELL.path], source=str(tmp_path / "gone"))
    made.find_program = lambda settings: setattr(made, "program", replace(SHELL, files=(gone,)))
    request = compiling.job_of(Backends.load([Plugin("tiny", "1", lambda: made)]).named("tiny"), tmp_path)
    with pytest.raises(InvalidArgument, match="gone"):
        compiling.obtain(request)


ENTRYPOINT = Entrypoint(Kind.MODULE, "/app.wasm", "", ("/app.wasm",), (), "/", -1)


def test_a_program_that_compiles_nothing_leaves_the_module_to_spawn():
    assert backend("").code_key(ENTRYPOINT) is None
    assert backend("").compilation(ENTRYPOINT) is None


def test_the_key_has_the_program_and_its_arguments(tmp_path):
    (tmp_path / "engine").write_text("1")
    made = program.Program("/e", "/e", (program.HostFile(str(tmp_path / "engine"), "/e"),), ("/e",))

    def key(words=("compile",)):
        return program.Compilation(made, words, "/tmp/code", re.compile("x")).key()

    first = key()
    assert key() == first
    assert key(("compile", "-O3")) != first
    (tmp_path / "other").write_text("2")
    os.rename(tmp_path / "other", tmp_path / "engine")
    assert key() != first
