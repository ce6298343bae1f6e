"""The command as a whole: help, versions, mistakes."""

import json
import subprocess
import sys

import pytest

from pelagos_core import __version__

COMMANDS = ["run", "install", "uninstall", "doctor", "backends", "cache", "conformance", "zygote", "version"]


def pelagos(*words):
    return subprocess.run([sys.executable, "-m", "pelagos_core", *words], capture_output=True, text=True)


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_every_command(flag):
    done = pelagos(flag)
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.partition("Commands:\n")[2].splitlines()] == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command):
    done = pelagos(command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: pelagos {command}")


@pytest.mark.parametrize("words", [["--version"], ["version"], ["version", "--json"]])
def test_the_version_is_told(words):
    assert __version__ in pelagos(*words).stdout
    assert set(json.loads(pelagos("version", "--json").stdout)) == {"pelagos", "python", "kernel"}


@pytest.mark.parametrize(("words", "message"), [(["fly"], "No such command"), (["--fly"], "No such option")])
def test_a_mistake_is_two_and_named(words, message):
    done = pelagos(*words)
    assert done.returncode == 2
    assert message in done.stderr
