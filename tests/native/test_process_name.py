"""What `ps` shows."""

import json
import os
import subprocess
import sys

import pytest

CODE = """
import json, os, sys
from pelagos_core.isolation import libseccomp
from pelagos_core.native import process_name
from pelagos_core.oci.seccomp import Condition, Rule, Seccomp
from tests.support.steps import confine
name, words, way = json.load(sys.stdin)
if way == "over":
    # A kernel without CONFIG_CHECKPOINT_RESTORE: prctl(PR_SET_MM) fails.
    no = Rule(("prctl",), "ERRNO", 22, (Condition(0, 35, 0, "EQ"),))
    confine(libseccomp.compile_profile(Seccomp("ALLOW", rules=(no,))))
if words is None:
    process_name.rename(name)
else:
    process_name.set_name(name, words)
grown = ["x" * 1000 for _ in range(20000)]  # the heap goes on as it was
pid = os.fork()
if pid == 0:
    files = [f"/proc/{os.getppid()}/{each}" for each in ("comm", "cmdline", "environ")]
    os.execv("/bin/cat", ["cat", *files])
os.waitpid(pid, 0)
print(json.dumps([sys.argv, os.environ["SECRET"]]))
"""
WAYS = ["pointed", "over"]


def shown(name, words, way):
    """(comm, the words, the environment) of a process that has set its name."""
    environment = {**os.environ, "SECRET": "of the shim"}
    command = [sys.executable, "-c", CODE, "a word"]
    said = json.dumps([name, words, way]).encode()
    done = subprocess.run(command, input=said, capture_output=True, check=True, env=environment)
    kept = b'[["-c", "a word"], "of the shim"]\n'  # Python has its own
    assert done.stdout.endswith(kept)
    comm, rest = done.stdout.removesuffix(kept).split(b"\n", 1)
    return comm.decode(), rest


@pytest.mark.parametrize("way", WAYS)
def test_name_and_words_are_shown_and_no_environment(way):
    comm, rest = shown("short", ["shim", "-id", "x y"], way)
    assert (comm, rest.rstrip(b"\0")) == ("short", b"shim\0-id\0x y")


def test_words_have_the_room_that_they_need():
    comm, rest = shown("x" * 40, ["/app.wasm", "y" * 100_000, "last"], "pointed")
    assert comm == "x" * 15
    assert rest == b"/app.wasm\0" + b"y" * 100_000 + b"\0last\0"


def test_what_is_too_long_is_cut():
    assert len(shown("x", ["y" * 200_000], "pointed")[1]) == (128 << 10) + 1


def test_without_the_kernels_help_there_is_room_for_what_was_executed():
    _, rest = shown("x", ["/app.wasm", "y" * 100_000], "over")
    line, environment = rest.split(b"\0", 1)
    assert len(CODE) < len(line) < 100_000
    assert line == b"/app.wasm " + b"y" * (len(line) - 10)
    assert environment.strip(b"y\0") == b""


@pytest.mark.parametrize("way", WAYS)
def test_a_guests_words_may_hold_anything(way):
    _, rest = shown("a\0b", ["a\0b", "\ud800", "", "é"], way)
    assert rest.rstrip(b"\0") == b"a b\0?\0\0" + "é".encode()


@pytest.mark.parametrize("way", WAYS)
def test_a_fork_is_renamed_and_keeps_its_parents_words(way):
    comm, rest = shown("pelagos-compile", None, way)
    assert comm == "pelagos-compile"
    assert rest.startswith(b"pelagos-compile\0-c\0\nimport json")
