"""The one voice of errors."""

import subprocess
import sys

import pytest

from pelagos_core.cli import voice


def test_a_line_names_the_program_the_command_and_the_fault():
    assert voice.line("module 'x' does not exist", "run") == "pelagos: run: module 'x' does not exist"
    assert voice.line("no such command 'x'", "") == "pelagos: no such command 'x'"


def test_what_a_terminal_would_act_on_is_not_printed():
    assert voice.clean("a\x1b[2Jb\u202ec\x9bd") == "a?[2Jb?c?d"
    assert voice.clean("wésm … 1") == "wésm … 1"


@pytest.mark.parametrize(
    ("words", "beginning"),
    [
        (["run", "/proc/none"], "pelagos: run: module '/proc/none' does not exist"),
        (["run", "--memry"], "pelagos: run: no such option '--memry'; did you mean '--memory'?"),
        (["exec", "none", "/x"], "pelagos: exec: container 'none' does not exist: `pelagos ps -a` lists yours"),
        (["stop", "none"], "pelagos: stop: container 'none' does not exist: `pelagos ps -a` lists yours"),
        (["cache", "wrm"], "pelagos: cache: no such command 'wrm'; did you mean 'warm'?"),
        (["cache", "warm", "/proc/none"], "pelagos: cache warm: module '/proc/none': No such file or directory"),
        (["images"], "pelagos: no such command 'images': images are containerd's: `ctr images ls`;"),
        (["inspect", "/proc/no\x1b[2Jne"], "pelagos: inspect: '/proc/no\\x1b[2Jne' is neither"),
    ],
)
def test_each_command_speaks_in_it(words, beginning):
    done = subprocess.run([sys.executable, "-m", "pelagos_core", *words], capture_output=True, text=True)
    assert done.returncode
    assert done.stderr.startswith(beginning)
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
