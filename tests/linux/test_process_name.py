"""What `ps` shows."""

import subprocess
import sys

CODE = """
import sys
from pelagos_core.linux.process_name import set_name
set_name(sys.argv[1], (sys.argv[2] * int(sys.argv[3])).split())
print(open("/proc/self/comm").read().strip())
print(open("/proc/self/cmdline").read().replace("\\0", " ").strip())
print(sys.argv[1], len(open("/proc/self/environ").read()) > 0)
"""


def shown(name, words, times=1):
    command = [sys.executable, "-c", CODE, name, words, str(times)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_name_and_words_are_shown_and_python_keeps_its_own():
    assert shown("short", "shim -id x") == ["short", "shim -id x", "short True"]


def test_what_is_too_long_is_cut():
    name, words, kept = shown("x" * 40, "y", 100_000)
    assert name == "x" * 15
    assert words == "y" * len(words)
    assert len(words) > len(CODE)
    assert kept == f"{'x' * 40} True"
